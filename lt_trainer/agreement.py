"""Processes that train together must run the same code, on the same data, with the same arguments: checked at once."""

from __future__ import annotations

import hashlib
import inspect
import math
import platform
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from lt_trainer.args.plan import Plan
    from lt_trainer.drivers import Driver


class DisagreementError(RuntimeError):
    """Processes of one run differ in what they would train."""


def signature(plan: Plan, model: nn.Module, dataset: Any) -> dict[str, str]:
    """What must be the same on all processes, as words that are compared and shown.

    Args:
        plan: of the run; how many workers read the data may differ.
        model: names, shapes and the source of its class.
        dataset: its size and, where rows can be looked at without drawing anything, three of them.
    """
    shapes = [(name, tuple(p.shape), str(p.dtype), p.requires_grad) for name, p in model.named_parameters()]
    loader = replace(plan.loader, num_workers=0, prefetch_factor=None, persistent_workers=False)
    groups = {**vars(plan), "loader": loader}
    arguments = {name: repr(groups[name]) for name in ("duration", "cadence", "loader", "optimizer")}
    return {
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "the model's class": f"{type(model).__name__}, source {_digest(_source(model))}",
        "the model's parameters": f"{len(shapes)} of them, names and shapes {_digest(shapes)}",
        "train_dataset": f"{_size(dataset)} rows, a sample of them {_digest(_sample(dataset))}",
        **{f"the plan's {name}": text for name, text in arguments.items()},
    }


def agree(driver: Driver, mine: Mapping[str, str]) -> None:
    """Compares the signatures of all processes, on every one of them.

    Raises:
        DisagreementError: with each difference and the first rank that has it.
    """
    everyone = driver.gather(dict(mine))
    found = []
    for name, first in everyone[0].items():
        rank = next((rank for rank, theirs in enumerate(everyone) if theirs.get(name) != first), None)
        if rank is not None:
            found.append(f"\n- {name}: {first} on rank 0, {everyone[rank].get(name)} on rank {rank}")
    if found:
        raise DisagreementError(
            "the processes of this run differ, expected the same on each:"
            + "".join(found)
            + "\nStart one script with the same files everywhere, set the seed before rows are drawn, and give each "
            "process the whole data set: rows are dealt out by the trainer"
        )


def agree_on_norm(driver: Driver, norm: float) -> None:
    """Compares the norms of a step's gradients: what each process steps with must be what one process would have.

    Raises:
        DisagreementError: gradients were not exchanged, with the norm of each rank.
    """
    everyone: list[float] = driver.gather(norm)
    if all(map(math.isfinite, everyone)) and max(everyone) - min(everyone) > 1e-3 * max(everyone):
        told = ", ".join(f"{value:.6g} on rank {rank}" for rank, value in enumerate(everyone))
        raise DisagreementError(
            f"the gradients of the first step have another norm on each process: expected one, received {told}; they "
            "were not exchanged: leave out a strategy, a communication hook or a training_step of your own that does so"
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode(errors="replace")).hexdigest()[:8]


def _source(model: nn.Module) -> str:
    try:
        return inspect.getsource(type(model))
    except (OSError, TypeError):  # typed into a session, or compiled
        return ""


def _size(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _sample(dataset: Any) -> list[Any]:
    """First, middle and last row of what only stores rows; of other data sets reading a row may draw random numbers."""
    from datasets import Dataset

    if isinstance(dataset, Dataset):
        dataset = dataset.with_format(None)
    elif not isinstance(dataset, list | tuple):
        return []
    places: Sequence[int] = sorted({0, len(dataset) // 2, len(dataset) - 1}) if len(dataset) else []
    return [_plain(dataset[place]) for place in places]


def _plain(row: Any) -> Any:
    """A row as what always prints the same; of anything but numbers, text and tensors only the type counts."""
    if isinstance(row, dict):
        return sorted((str(name), _plain(value)) for name, value in row.items())
    if isinstance(row, list | tuple):
        return [_plain(value) for value in row]
    if isinstance(row, torch.Tensor):
        return row.tolist()
    return row if isinstance(row, str | int | float | bool | None) else type(row).__name__
