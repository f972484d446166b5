"""A folder, or a name on the hub, to a folder. What is all in the cache is taken from there without a request."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lt_trainer.files import read_json, safe_join

if TYPE_CHECKING:
    from collections.abc import Callable

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """Which files of a repository are meant, and when a cached snapshot has enough of them."""

    what: str
    patterns: tuple[str, ...]
    is_complete: Callable[[Path], bool]
    fallback: tuple[str, ...] = ()
    """Fetched only where the files of `patterns` are not enough."""


def _has_config(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _has_tokenizer(folder: Path) -> bool:
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
    return any((folder / name).is_file() for name in names)


def _has_weights(folder: Path) -> bool:
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (folder / single).is_file():
            return _has_config(folder)
        index = folder / f"{single}.index.json"
        if index.is_file():
            shards = set(read_json(index)["weight_map"].values())
            return _has_config(folder) and all(safe_join(folder, shard).is_file() for shard in shards)
    return False


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "chat_template.jinja",
)

CONFIG = Wanted("config.json", ("config.json",), _has_config)
TOKENIZER = Wanted("a tokenizer", ("config.json", *_TOKENIZER_FILES), _has_tokenizer)
MODEL = Wanted(
    "config.json and weights",
    (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model-*.safetensors",
        "model.safetensors.index.json",
    ),
    _has_weights,
    fallback=("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"),
)


def resolve_folder(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool | None = None,
    wanted: Wanted = MODEL,
) -> Path:
    """The folder of a model: the path itself where it is one, otherwise the snapshot of a repository of the hub.

    HF_HUB_OFFLINE, HF_HOME and HF_TOKEN are honoured by `huggingface_hub`. A cached snapshot that holds what is wanted
    is used as it is, with no request; name a commit as `revision` to be sure of a newer one.

    Args:
        name_or_path: a folder, or a name such as "bert-base-uncased" or "org/name".
        revision: branch, tag or commit; the main branch if None.
        token: for private repositories; None takes the one that is logged in.
        cache_dir: where snapshots are kept; the hub's own place if None.
        local_files_only: True makes no request.
        wanted: `CONFIG`, `TOKENIZER` or `MODEL`.

    Raises:
        FileNotFoundError: neither is there; says how the name was understood and which folders are near.
    """
    name, path = os.fspath(name_or_path), Path(name_or_path).expanduser()
    if name and path.is_dir():
        return path
    if name and os.path.lexists(path):
        raise FileNotFoundError(f"{path} is a file: expected the folder that holds {wanted.what}. Name {path.parent}?")
    if not HUB_NAME.fullmatch(name) or ".." in name or "--" in name:
        raise FileNotFoundError(
            f"There is no folder {name!r}, and it cannot be a name on the hub (expected 'name' or 'org/name'): correct "
            f"the path. {_near(path)}"
        )
    try:
        return _from_hub(name, revision, token, cache_dir, bool(local_files_only), wanted)
    except Exception as error:  # huggingface_hub and its HTTP client raise kinds with no common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(
            f"There is no folder {path.absolute()}, so {name!r} was taken as a name on the hub, which did not "
            f"give {wanted.what} ({type(error).__name__}: {reason}). Correct the name, or check the network. "
            f"{_near(path)}"
        ) from error


def _from_hub(
    name: str,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    wanted: Wanted,
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(patterns: tuple[str, ...], cached: bool) -> Path:
        place = str(cache_dir) if cache_dir is not None else None
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                cache_dir=place,
                local_files_only=cached,
                allow_patterns=list(patterns),
            )
        )

    try:
        folder = snapshot(wanted.patterns, cached=True)
        if wanted.is_complete(folder):
            return folder
    except LocalEntryNotFoundError:
        if local_files_only:
            raise
    if not local_files_only:
        folder = snapshot(wanted.patterns, cached=False)
        if not wanted.is_complete(folder) and wanted.fallback:
            folder = snapshot(wanted.patterns + wanted.fallback, cached=False)
    if not wanted.is_complete(folder):
        raise FileNotFoundError(f"{folder} lacks some of it: expected {wanted.what}; name another revision or model")
    return folder


def _near(path: Path) -> str:
    """A sentence with the folders that a mistyped path may have meant."""
    parent = path.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    folders = sorted(item.name for item in parent.iterdir() if item.is_dir() and not item.name.startswith("."))
    near = difflib.get_close_matches(path.name, folders, n=3, cutoff=0.5) or folders[:8]
    return f"Folders in {parent}: {', '.join(near) or 'none'}."
