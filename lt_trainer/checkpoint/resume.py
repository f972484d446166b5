"""What a checkpoint says, against what this run is: nothing of a foreign folder is taken on trust."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.checkpoint.format import OPTIMIZER, TRAINER_STATE
from lt_trainer.optim.adafactor import Adafactor
from lt_trainer.state import TrainerState

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: dict[str, type | tuple[type, ...]] = {
    "global_step": int,
    "log_history": list,
    "best_metric": (int, float, type(None)),
    "best_global_step": (int, type(None)),
    "best_model_checkpoint": (str, type(None)),
    "stateful_callbacks": (dict, type(None)),
}


def read_state(saved: Mapping[str, Any], folder: Path, now: Mapping[str, Any]) -> TrainerState:
    """The state of a checkpoint with the values of this run.

    Fields that a newer version added are left out. The best model is looked for beside the checkpoint, under the name
    that it had: a run that was moved finds it, and a path that a stranger wrote leads nowhere.

    Args:
        saved: content of trainer_state.json.
        folder: of the checkpoint.
        now: fields that this run decides.

    Raises:
        ValueError: a field of another type (names file and field).
    """
    known = {field.name for field in fields(TrainerState)}
    values = {name: value for name, value in saved.items() if name in known}
    for name, kind in _TYPES.items():
        if name in values and not isinstance(values[name], kind):
            raise ValueError(_refusal(folder, f"'{name}' is {values[name]!r:.80}"))
    history = values.get("log_history", [])
    if not all(isinstance(entry, dict) and isinstance(entry.get("step"), int) for entry in history):
        raise ValueError(_refusal(folder, "'log_history' holds something else than logs with a 'step'"))
    best = values.get("best_model_checkpoint")
    if best is not None:
        beside = folder.parent / Path(best).name
        values["best_model_checkpoint"] = str(beside) if beside.is_dir() else None
    return TrainerState(**{**values, **now})


def check_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], folder: Path) -> None:
    """Compares a saved state with the parameters before it is loaded.

    A fused optimizer writes through bare pointers, so a state of another shape would corrupt memory.

    Raises:
        ValueError: groups, parameters or shapes differ (names the file and the numbers).
    """
    groups, states = saved.get("param_groups"), saved.get("state")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    try:
        found = [len(group["params"]) for group in groups]  # type: ignore[union-attr]
        order = [number for group in groups for number in group["params"]]  # type: ignore[union-attr]
        entries = {number: dict(state) for number, state in states.items()}  # type: ignore[union-attr]
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{folder / OPTIMIZER}: expected the state of an optimizer, received one without its parts ({error!r}): "
            "go on from another checkpoint"
        ) from error
    if found != sizes:
        raise ValueError(
            f"{folder / OPTIMIZER}: expected groups of {sizes} parameters, received {found}: "
            "go on with the model, `optim` and `weight_decay` of the run that was saved"
        )
    for number, parameter in zip(order, parameters, strict=True):
        shapes = _shapes(optimizer, parameter)
        for name, value in entries.get(number, {}).items():
            if isinstance(value, torch.Tensor) and shapes is not None and value.shape not in shapes:
                raise ValueError(
                    f"{folder / OPTIMIZER}: '{name}' of parameter {number}: expected shape {tuple(parameter.shape)}, "
                    f"received {tuple(value.shape)}: it is damaged or another model's; go on from another checkpoint"
                )


def _shapes(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> tuple[torch.Size, ...] | None:
    """The shapes that a parameter's state may have; None where another package's optimizer decides them."""
    shape, one_number = parameter.shape, (torch.Size(), torch.Size([1]))
    if isinstance(optimizer, Adafactor):
        return (*one_number, shape, shape[:-1], shape[:-2] + shape[-1:])
    return (*one_number, shape) if type(optimizer).__module__.startswith("torch.") else None


def differences(side: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What decides the order of the rows and is not as it was, as "seed 3, now 4" (nothing of a foreign folder)."""
    before = side.get("order", {})
    return [f"{name} {before[name]}, now {value}" for name, value in now.items() if before.get(name, value) != value]


def _refusal(folder: Path, what: str) -> str:
    return f"{folder / TRAINER_STATE}: {what}: expected what lt_trainer or transformers writes; go on from another one"
