"""Rows -> tokenized rows, made once and kept under a key of the data, the tokenizer and the parameters.

    key = hash(content of the rows' columns, the tokenizer's files, what the task does with them)
    cache/<key>/rows.arrow     the tokenized rows, memory-mapped when they are read
    cache/<key>/counts.json    how many raw rows there were and how many were cut; written last

A folder is made beside its place and renamed, under a lock: of several processes one tokenizes and the others wait.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset

logger = logging.getLogger(__name__)

Columns = Mapping[str, list[Any]]
Encode = Callable[[Columns, list[int]], tuple[dict[str, list[Any]], int]]
"""(columns of some rows, their numbers) -> (columns of tokenized rows, how many of the raw rows were cut)."""

_BATCH = 1000  # rows that are tokenized at a time


@dataclass(frozen=True)
class Counts:
    """What tokenization did: raw rows, tokenized rows (windows or blocks of raw ones), raw rows that were cut."""

    rows: int
    features: int
    truncated: int


def tokenize(rows: Dataset, encode: Encode, *, key: str | None, cache_dir: Path, overwrite: bool = False) -> Any:
    """Tokenizes rows, or reads what was tokenized before.

    Args:
        rows: with the columns that `encode` reads, and no others.
        encode: see Encode.
        key: of the result; None keeps nothing on disk.
        cache_dir: the folder of all results.
        overwrite: tokenizes again where there is a result.

    Returns:
        (tokenized rows, their Counts).
    """
    if key is None or not _is_writable(cache_dir):
        return _run(rows, encode, None)
    from filelock import FileLock

    folder = cache_dir / key
    with FileLock(str(cache_dir / f"{key}.lock")):
        if overwrite or not (folder / "counts.json").is_file():
            beside = cache_dir / f"{key}.{os.getpid()}"
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            _, counts = _run(rows, encode, beside / "rows.arrow")
            (beside / "counts.json").write_text(json.dumps(asdict(counts)), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)  # of an overwritten result, or one without counts
            beside.rename(folder)
    return _read(folder)


def _run(rows: Dataset, encode: Encode, path: Path | None) -> Any:
    cut = 0

    def encoded(columns: Columns, numbers: list[int]) -> dict[str, list[Any]]:
        nonlocal cut
        result, more = encode(columns, numbers)
        cut += more
        return result

    place = {"keep_in_memory": True} if path is None else {"cache_file_name": str(path)}
    made = rows.with_format(None).map(
        encoded,
        batched=True,
        batch_size=_BATCH,
        with_indices=True,
        remove_columns=rows.column_names,
        load_from_cache_file=False,
        new_fingerprint=os.urandom(8).hex(),  # else the function would be pickled and hashed
        desc="tokenizing",
        **place,
    )
    return made, Counts(len(rows), len(made), cut)


def _read(folder: Path) -> Any:
    from datasets import Dataset

    counts = Counts(**json.loads((folder / "counts.json").read_text(encoding="utf-8")))
    return Dataset.from_file(str(folder / "rows.arrow")), counts


def _is_writable(cache_dir: Path) -> bool:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("tokenized rows are not kept: %s cannot be made (%s); set LT_TRAINER_CACHE", cache_dir, error)
        return False
    return os.access(cache_dir, os.W_OK)


def default_cache() -> Path:
    """LT_TRAINER_CACHE, else `lt_trainer` in the user's cache folder."""
    if named := os.environ.get("LT_TRAINER_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lt_trainer" / "tokenized"


# --- keys -------------------------------------------------------------------------------------------------------------


def key_of(rows: Dataset, tokenizer: Any, *described: Any) -> str | None:
    """A name for what tokenizing these rows gives; None where a tokenizer's content cannot be read.

    Args:
        rows: with the columns that are read.
        tokenizer: one of ours, or of `transformers` with a Rust backend.
        described: whatever else decides the result, as JSON or text.
    """
    files = tokenizer_content(tokenizer)
    if files is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for part in (files, json.dumps(described, sort_keys=True, default=str).encode(), content_of(rows)):
        digest.update(hashlib.blake2b(part).digest())
    return digest.hexdigest()


def tokenizer_content(tokenizer: Any) -> bytes | None:
    """All that decides what a tokenizer returns: tokenizer.json and its settings."""
    from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

    if isinstance(tokenizer, PreTrainedTokenizerFast):
        return b"\0".join(name.encode() + content for name, content in sorted(tokenizer.to_files().items()))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    settings = {name: repr(value) for name, value in sorted(tokenizer.init_kwargs.items())}
    return f"{backend.to_str()}{settings}{tokenizer.model_max_length}{tokenizer.padding_side}".encode()


def content_of(rows: Dataset) -> bytes:
    """A hash of all values, whatever file they are mapped from (a hundred megabytes take a tenth of a second)."""
    import pyarrow as pa

    sink = _Digest()
    sink.write(",".join(rows.column_names).encode())
    for table in rows.with_format("arrow").iter(batch_size=10_000):
        plain = table.combine_chunks().replace_schema_metadata(None)
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain.schema) as stream:
            stream.write_table(plain)
    return sink.digest.digest()


class _Digest:
    """A file that only hashes what is written into it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.blake2b()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def tokens_alone(tokenizer: Any) -> dict[str, bool]:
    """The argument of a call that wants no words and characters back; tokenizers of `transformers` have none."""
    from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

    return {"return_alignment": False} if isinstance(tokenizer, PreTrainedTokenizerFast) else {}


# --- counts ----------------------------------------------------------------------------------------------------------


def count_cut(*encoded: Any) -> int:
    """How many rows of a tokenizer's calls were cut in any; 0 where a tokenizer without a Rust backend does not say."""
    rows = zip(*(call.encodings or () for call in encoded), strict=True)
    return sum(any(encoding.overflowing for encoding in row) for row in rows)


def lengths_of(rows: Any, column: str = "input_ids") -> np.ndarray[Any, np.dtype[np.int64]]:
    """Tokens of each row, [rows]."""
    import pyarrow.compute as pc

    parts = [pc.list_value_length(t[column]).to_numpy() for t in rows.with_format("arrow").iter(batch_size=10_000)]
    lengths: np.ndarray[Any, np.dtype[np.int64]] = np.concatenate(parts).astype(np.int64)
    return lengths


def padding_share(lengths: np.ndarray[Any, Any], batch_size: int, order: Sequence[int] | None = None) -> float:
    """The share of a batch's positions that padding to its longest row would be, over all batches.

    Args:
        lengths: tokens of each row, [rows].
        batch_size: rows of a batch.
        order: the rows as they come; None: in their order.
    """
    ordered = lengths if order is None else lengths[np.asarray(order)]
    starts = np.arange(0, len(ordered), batch_size)
    rows = np.minimum(batch_size, len(ordered) - starts)
    positions = int((np.maximum.reduceat(ordered, starts) * rows).sum())
    return 1 - int(ordered.sum()) / positions if positions else 0.0
