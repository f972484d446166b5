"""The header of a safetensors file, checked against the file's size before anything is allocated."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.files.read import AGAIN, existing_file
from lt_trainer.files.tensors import DTYPES

if TYPE_CHECKING:
    import os

    from torch import Tensor

HEADER_BYTES = 100_000_000
MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: its values begin at byte `start` of `file` and are as many as its shape says."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    def read(self) -> Tensor:
        """A new tensor on the CPU with the stored dtype and shape."""
        tensor = torch.empty(self.shape, dtype=self.dtype)
        self.read_into(tensor)
        return tensor

    def read_into(self, target: Tensor) -> None:
        """Fills a contiguous CPU tensor of the same dtype and shape, with no copy in between.

        Raises:
            ValueError: the file has become shorter since its header was read.
        """
        values = target.detach().reshape(-1).view(torch.uint8).numpy().data
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start)
            done = 0
            while done < len(values):
                count = file.readinto(values[done:])
                if not count:
                    raise ValueError(f"{self.file} ended inside a tensor: it was changed while it was read. {AGAIN}")
                done += count


def read_header(path: str | os.PathLike[str]) -> dict[str, Stored]:
    """The tensors of a safetensors file, in the order of their values.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: not such a file, cut, or with a header that claims what the file does not hold.
    """
    path = existing_file(Path(path).parent, Path(path).name)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_BYTES):
            raise ValueError(
                f"{path} has {size} bytes and claims a header of {length}: it is cut or no safetensors file. {AGAIN}"
            )
        text = file.read(length)
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: the header is not JSON ({error}); it is damaged or no safetensors file. {AGAIN}"
        ) from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected an object as header, found {type(entries).__name__}. {AGAIN}")
    entries.pop("__metadata__", None)
    return _check_entries(path, entries, begin=8 + length, available=size - 8 - length)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"a name stands twice: {twice!r:.80}")
    return entries


def _check_entries(path: Path, entries: dict[str, Any], begin: int, available: int) -> dict[str, Stored]:
    """Each entry says what its bytes can hold, and together they cover the values without gap or overlap."""
    placed = []
    for name, entry in entries.items():
        try:
            dtype = DTYPES[entry["dtype"]]
            shape = tuple(entry["shape"])
            start, end = entry["data_offsets"]
            sane = all(type(n) is int and 0 <= n < 2**63 for n in (*shape, start, end)) and len(shape) <= MAX_DIMENSIONS
        except (KeyError, TypeError, ValueError):
            sane = False
        if not sane:
            raise ValueError(
                f"{path}: the header's entry for {name!r:.80} is {str(entry)[:200]}, which no tensor has: expected "
                f"dtype, shape and data_offsets. {AGAIN}"
            )
        if end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(
                f"{path}: {name!r:.80} of shape {shape} and {dtype} cannot lie in {end - start} bytes. {AGAIN}"
            )
        placed.append((start, end, name, Stored(path, dtype, shape, begin + start)))
    position = 0
    for start, end, name, _ in sorted(placed, key=lambda item: item[:3]):
        if start != position:
            raise ValueError(f"{path}: {name!r:.80} begins at byte {start} of the values, expected {position}. {AGAIN}")
        position = end
    if position != available:
        raise ValueError(
            f"{path}: the header describes {position} bytes of values and the file holds {available}. {AGAIN}"
        )
    return {name: stored for _, _, name, stored in sorted(placed, key=lambda item: item[:3])}
