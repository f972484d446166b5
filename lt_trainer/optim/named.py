"""Schedules as objects of torch, under the names that scripts import from `transformers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR

from lt_trainer.args.check import near
from lt_trainer.names import SCHEDULERS, WATCHERS
from lt_trainer.optim.schedules import schedule
from lt_trainer.optim.watchers import GreedyLR, Watcher, create_watcher

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import ReduceLROnPlateau


def get_scheduler(
    name: str,
    optimizer: Optimizer,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
) -> LambdaLR | Watcher:
    """A schedule by its name, to be stepped once an optimizer step (those that follow a metric: once an evaluation).

    Args:
        name: linear, cosine, ...: what `lr_scheduler_type` takes.
        optimizer: whose rates it sets; its `defaults["lr"]` is the peak.
        num_warmup_steps: optimizer steps of warm-up.
        num_training_steps: optimizer steps of the run.
        scheduler_specific_kwargs: the schedule's own arguments.

    Raises:
        ValueError: an unknown name, or steps that the schedule needs are missing.
        ConfigurationError: own arguments that it does not take.
    """
    name, kwargs = str(getattr(name, "value", name)), dict(scheduler_specific_kwargs or {})
    if name not in SCHEDULERS:
        raise ValueError(f"get_scheduler: name={name!r}: expected one of {SCHEDULERS}{near(name, SCHEDULERS)}")
    if name in WATCHERS:
        return create_watcher(name, optimizer, kwargs)
    needs = {"num_warmup_steps": num_warmup_steps, "num_training_steps": num_training_steps}
    if name in ("constant", "constant_with_warmup", "inverse_sqrt") or "num_stable_steps" in kwargs:
        del needs["num_training_steps"]
    if name == "constant":
        needs = {}
    if missing := [needed for needed, value in needs.items() if value is None]:
        raise ValueError(f"get_scheduler: {name} needs {missing}, received None: pass a number of optimizer steps")
    return _lambda(optimizer, name, num_warmup_steps or 0, num_training_steps or 0, -1, kwargs)


def _lambda(
    optimizer: Optimizer, name: str, warmup: int, total: int, last_epoch: int, kwargs: dict[str, Any]
) -> LambdaLR:
    factor = schedule(name, warmup, total, learning_rate=optimizer.defaults["lr"], kwargs=kwargs)
    return LambdaLR(optimizer, factor, last_epoch)


def get_constant_schedule(optimizer: Optimizer, last_epoch: int = -1) -> LambdaLR:
    """The rate stays."""
    return _lambda(optimizer, "constant", 0, 0, last_epoch, {})


def get_constant_schedule_with_warmup(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1) -> LambdaLR:
    """Rises from 0 over the warm-up, then stays."""
    return _lambda(optimizer, "constant_with_warmup", num_warmup_steps, 0, last_epoch, {})


def get_linear_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """Rises from 0 over the warm-up, then falls to 0 in a straight line."""
    return _lambda(optimizer, "linear", num_warmup_steps, num_training_steps, last_epoch, {})


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5, last_epoch: int = -1
) -> LambdaLR:
    """Rises from 0 over the warm-up, then follows `num_cycles` waves of a cosine."""
    kwargs = {"num_cycles": num_cycles}
    return _lambda(optimizer, "cosine", num_warmup_steps, num_training_steps, last_epoch, kwargs)


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1, last_epoch: int = -1
) -> LambdaLR:
    """Rises from 0 over the warm-up, then falls to 0 along a half cosine `num_cycles` times."""
    kwargs = {"num_cycles": num_cycles}
    return _lambda(optimizer, "cosine_with_restarts", num_warmup_steps, num_training_steps, last_epoch, kwargs)


def get_polynomial_decay_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    lr_end: float = 1e-7,
    power: float = 1.0,
    last_epoch: int = -1,
) -> LambdaLR:
    """Rises from 0 over the warm-up, then falls to the rate `lr_end` as a power of the steps that are left."""
    kwargs = {"lr_end": lr_end, "power": power}
    return _lambda(optimizer, "polynomial", num_warmup_steps, num_training_steps, last_epoch, kwargs)


def get_inverse_sqrt_schedule(
    optimizer: Optimizer, num_warmup_steps: int, timescale: int | None = None, last_epoch: int = -1
) -> LambdaLR:
    """Rises from 0 over the warm-up, then falls as the inverse root of the steps over `timescale`."""
    return _lambda(optimizer, "inverse_sqrt", num_warmup_steps, 0, last_epoch, {"timescale": timescale})


def get_cosine_with_min_lr_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> LambdaLR:
    """As the cosine, down to `min_lr`, or to `min_lr_rate` times the peak."""
    kwargs = {"num_cycles": num_cycles, "min_lr": min_lr, "min_lr_rate": min_lr_rate}
    return _lambda(optimizer, "cosine_with_min_lr", num_warmup_steps, num_training_steps, last_epoch, kwargs)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> LambdaLR:
    """As the cosine to `min_lr`; the warm-up begins at `warmup_lr_rate` times the peak."""
    kwargs = {"num_cycles": num_cycles, "min_lr": min_lr, "min_lr_rate": min_lr_rate, "warmup_lr_rate": warmup_lr_rate}
    return _lambda(optimizer, "cosine_warmup_with_min_lr", num_warmup_steps, num_training_steps, last_epoch, kwargs)


def get_wsd_schedule(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
) -> LambdaLR:
    """Rises, stays for `num_stable_steps` (None: what the run leaves), and falls over `num_decay_steps`.

    Raises:
        ValueError: neither `num_training_steps` nor `num_stable_steps`.
    """
    if num_training_steps is None and num_stable_steps is None:
        raise ValueError(
            "get_wsd_schedule: expected num_training_steps or num_stable_steps, received neither: pass one"
        )
    kwargs = {
        **{"num_decay_steps": num_decay_steps, "num_stable_steps": num_stable_steps, "warmup_type": warmup_type},
        **{"decay_type": decay_type, "min_lr_ratio": min_lr_ratio, "num_cycles": num_cycles},
    }
    return _lambda(optimizer, "warmup_stable_decay", num_warmup_steps, num_training_steps or 0, last_epoch, kwargs)


def get_reduce_on_plateau_schedule(optimizer: Optimizer, **kwargs: Any) -> ReduceLROnPlateau:
    """Torch's ReduceLROnPlateau, whose arguments `kwargs` are."""
    watcher = create_watcher("reduce_lr_on_plateau", optimizer, kwargs)
    assert not isinstance(watcher, GreedyLR)
    return watcher


def get_greedy_schedule(optimizer: Optimizer, **kwargs: Any) -> GreedyLR:
    """A GreedyLR, whose arguments `kwargs` are."""
    watcher = create_watcher("greedy", optimizer, kwargs)
    assert isinstance(watcher, GreedyLR)
    return watcher
