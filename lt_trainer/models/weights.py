"""What a model folder holds: its config, and its weights known by their headers.

Weights are safetensors, single or sharded. A folder that has only `pytorch_model.bin` is read too, strictly
(`torch.load(weights_only=True)` of the zip format of torch >= 1.6): older folders of `transformers` hold nothing else.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lt_trainer.files import existing_file, read_json, read_torch
from lt_trainer.files.headers import Stored, read_header
from lt_trainer.files.read import AGAIN

if TYPE_CHECKING:
    from collections.abc import Collection

CONFIG_BYTES = 1 << 24
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What may hold the weights, in the order of preference of `transformers`, safetensors first."""

_TOGETHER = "Fetch the index and all its files again, of one version."

SHOWN = 5
"""How many names a message lists."""


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        FileNotFoundError: no such folder, or no config.json in it; the message lists what is there.
        ValueError: not a JSON object.
    """
    folder = _existing_folder(folder)
    if not os.path.lexists(folder / "config.json"):
        raise FileNotFoundError(
            f"{folder} has no config.json: expected a folder that save_pretrained wrote. It holds: {_listing(folder)}. "
            "Name the folder of a model."
        )
    config = read_json(folder / "config.json", max_bytes=CONFIG_BYTES)
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'}: expected a JSON object, found {config!r:.80}. {AGAIN}")
    return config


class WeightIndex(Mapping[str, Tensor]):
    """The tensors of a model folder, known by their headers; `index[name]` reads one.

    Raises:
        FileNotFoundError: no such folder, no weights in it, or a shard is missing.
        ValueError: a file that is damaged, foreign, or leads out of the folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = _existing_folder(folder)
        self.stored: dict[str, Stored] = {}
        """name -> dtype, shape and place; headers only."""
        self._loaded: dict[str, Tensor] = {}
        for file, names in self._weight_files().items():
            self._add_file(file, names)

    def _weight_files(self) -> dict[str, list[str]]:
        """File name -> the tensors that an index expects there (none for a single file)."""
        for name in WEIGHT_FILES:
            if os.path.lexists(self.folder / name):
                return _shards(self.folder / name) if name.endswith(".index.json") else {name: []}
        raise FileNotFoundError(
            f"{self.folder} has no weights: expected {' or '.join(WEIGHT_FILES)}. It holds: {_listing(self.folder)}. "
            "Save the model with save_pretrained, or name another folder."
        )

    def _add_file(self, file: str, names: list[str]) -> None:
        path = existing_file(self.folder, file)
        if file.endswith(".safetensors"):
            found = read_header(path)
        else:
            tensors = _read_bin(path)
            self._loaded.update(tensors)
            found = {
                name: Stored(path, tensor.dtype, tuple(tensor.shape), start=-1) for name, tensor in tensors.items()
            }
        for name in names:
            if name not in found:
                raise ValueError(f"{path} does not hold {name!r}, which the index expects there. {_TOGETHER}")
        for name in found:
            if name in self.stored:
                raise ValueError(f"{path} holds {name!r}, which {self.stored[name].file.name} holds too. {_TOGETHER}")
        self.stored.update(found)

    def __getitem__(self, name: str) -> Tensor:
        stored = self.stored[name]
        return stored.read() if stored.start >= 0 else self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def tensor(self, name: str) -> Tensor:
        """Reads one tensor: its stored shape and dtype, on the CPU."""
        return self[name]

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Reads some tensors, one at a time."""
        return ((name, self[name]) for name in names)

    def read_into(self, name: str, target: Tensor) -> None:
        """Fills a tensor of the same shape; dtype and device are those of `target`."""
        stored = self.stored[name]
        direct = target.dtype == stored.dtype and target.device.type == "cpu" and target.is_contiguous()
        if direct and stored.start >= 0:
            stored.read_into(target)
        else:
            target.copy_(self[name])


def _existing_folder(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} is not a folder: expected one with config.json and model.safetensors. Correct the path, or save a "
            "model there."
        )
    return path


def _shards(path: Path) -> dict[str, list[str]]:
    """File name -> tensor names, from an index."""
    index = read_json(path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not isinstance(weight_map, dict)
        or not all(isinstance(file, str) for file in weight_map.values())
        or not weight_map
    ):
        raise ValueError(
            f"{path}: expected an object with a 'weight_map' of tensor names to file names, "
            f"found {index!r:.80}. {AGAIN}"
        )
    files = defaultdict(list)
    for name, file in weight_map.items():
        files[file].append(name)
    return files


def _read_bin(path: Path) -> dict[str, Tensor]:
    tensors = read_torch(path, mmap=True)
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        kinds = {type(item).__name__ for item in (tensors.values() if isinstance(tensors, dict) else [tensors])}
        raise ValueError(
            f"{path}: expected a dictionary of tensors, found {', '.join(sorted(kinds))}. Save the weights as "
            "model.safetensors."
        )
    return tensors


def _listing(folder: Path) -> str:
    return some(sorted(item.name for item in folder.iterdir()), limit=12) or "nothing"


def some(names: Collection[str], *, separator: str = ", ", limit: int = SHOWN) -> str:
    """The first names of a list, and how many more there are."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(list(names)[:limit]) + more
