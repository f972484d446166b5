"""From a model folder to a model: headers are compared first, then values are read once, straight into parameters."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lt_trainer.models.weights import WeightIndex, read_config, some

__all__ = ["LoadReport", "WeightIndex", "check_against", "load_into", "read_config"]

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Mapping

    from torch import nn

LEGACY_NAMES = (
    (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
    (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
"""Names that TensorFlow's BERT left in public checkpoints such as bert-base-uncased."""


@dataclass(frozen=True)
class LoadReport:
    """How the tensors of a folder meet the names of a model."""

    sources: dict[str, str]
    """model's name -> stored name, for what is loaded."""
    missing: tuple[str, ...]
    """model's names that the folder does not hold: they keep their initial values."""
    unexpected: tuple[str, ...]
    """stored names that the model does not have: they are not read."""
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """(model's name, stored shape, model's shape)."""

    def require_usable(self, folder: str | os.PathLike[str], *, ignore_mismatched_sizes: bool = False) -> None:
        """Refuses what could only train by accident.

        Raises:
            ValueError: no name matches, whole layers are missing, or shapes differ.
        """
        if not self.sources and not self.mismatched:
            raise ValueError(
                f"No weight in {folder} fits this model: it wants {some(self.missing)} and the folder holds "
                f"{some(self.unexpected)}. Take the config.json that belongs to the weights."
            )
        if layers := _missing_layers(self.missing, self.sources):
            raise ValueError(
                f"config.json in {folder} asks for layers that its weights do not hold: {some(layers)}. "
                "Lower the number of layers in the config, or take the weights that belong to it."
            )
        if self.mismatched and not ignore_mismatched_sizes:
            told = [f"{name} is {stored} in the file and {wanted} here" for name, stored, wanted in self.mismatched]
            raise ValueError(
                f"Weights in {folder} have other shapes than the model: {some(told, separator='; ')}. Correct the "
                "config, or pass ignore_mismatched_sizes=True to give them new initial values."
            )


def check_against(
    index: WeightIndex,
    expected: Mapping[str, Iterable[int]],
    *,
    prefix: str = "",
    tied: Iterable[Collection[str]] = (),
    ignored: Iterable[str] = (),
) -> LoadReport:
    """Compares headers with the model's names and shapes; nothing is allocated.

    Args:
        index: the folder's tensors.
        expected: name -> shape; `{k: v.shape for k, v in model.state_dict().items()}` of a model on the meta device.
        prefix: the name of the body inside models with heads ("bert"): a folder of the bare body fits a model with a
            head and the other way round.
        tied: groups of names that are one tensor; one of them in the file is enough.
        ignored: patterns (regular expressions, searched) of stored names that nobody needs to hear of.
    """
    stored = _translated(index.stored, expected, prefix)
    sources, mismatched, missing = {}, [], []
    for name, wanted in expected.items():
        shape = tuple(wanted)
        if name not in stored:
            missing.append(name)
        elif index.stored[stored[name]].shape == shape:
            sources[name] = stored[name]
        else:
            mismatched.append((name, index.stored[stored[name]].shape, shape))
    present = {name for group in tied if any(name in sources for name in group) for name in group}
    patterns = [re.compile(pattern) for pattern in ignored]
    unexpected = [
        key for name, key in stored.items() if name not in expected and not any(p.search(key) for p in patterns)
    ]
    return LoadReport(sources, tuple(n for n in missing if n not in present), tuple(unexpected), tuple(mismatched))


@torch.no_grad()
def load_into(
    model: nn.Module,
    index: WeightIndex,
    *,
    ignore_mismatched_sizes: bool = False,
    prefix: str = "",
    ignored: Iterable[str] = (),
) -> LoadReport:
    """Reads the folder's tensors into a model that is in memory already; tied parameters stay tied.

    Raises:
        ValueError: as `LoadReport.require_usable` says; the model is untouched then.
    """
    targets = model.state_dict(keep_vars=True)
    groups = defaultdict(list)
    for name, tensor in targets.items():
        groups[id(tensor)].append(name)
    shapes = {name: tensor.shape for name, tensor in targets.items()}
    report = check_against(index, shapes, prefix=prefix, tied=groups.values(), ignored=ignored)
    report.require_usable(index.folder, ignore_mismatched_sizes=ignore_mismatched_sizes)
    for names in groups.values():
        source = next((report.sources[name] for name in names if name in report.sources), None)
        if source is not None:
            index.read_into(source, targets[names[0]])
    return report


def _translated(stored: Iterable[str], expected: Iterable[str], prefix: str) -> dict[str, str]:
    """Name as the model would call it -> stored name."""
    names = {}
    for key in stored:
        name = key
        for pattern, modern in LEGACY_NAMES:
            name = pattern.sub(modern, name)
        names[name] = key
    if not prefix:
        return names
    dotted = prefix + "."
    body_in_file = any(name.startswith(dotted) for name in names)
    body_in_model = [name for name in expected if name.startswith(dotted)]
    if body_in_model and not body_in_file:
        inner = {name.removeprefix(dotted) for name in body_in_model}
        return {dotted + name if name in inner else name: key for name, key in names.items()}
    if body_in_file and not body_in_model:
        return {name.removeprefix(dotted): key for name, key in names.items()}
    return names


def _missing_layers(missing: Iterable[str], loaded: Iterable[str]) -> list[str]:
    """Numbered layers of which nothing was found, in stacks of which other layers were."""
    number = re.compile(r"^(?:.*?\.)?\d+(?=\.)")
    found = {match[0] for name in loaded if (match := number.match(name))}
    stacks = {layer.rpartition(".")[0] for layer in found}
    wanted = dict.fromkeys(match[0] for name in missing if (match := number.match(name)))
    return [layer for layer in wanted if layer not in found and layer.rpartition(".")[0] in stacks]
