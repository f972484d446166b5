"""Learning rate schedules as pure functions: optimizer steps done -> factor of the peak rate."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from lt_trainer.args.check import ConfigurationError, near

Factor = Callable[[int], float]


def schedule(name: str, warmup_steps: int, total_steps: int, *, learning_rate: float, kwargs: dict[str, Any]) -> Factor:
    """A schedule by its name in `transformers`, with its numbers.

    Args:
        name: a key of SCHEDULES.
        warmup_steps: optimizer steps of linear warm-up.
        total_steps: optimizer steps of the run.
        learning_rate: the peak; schedules with an absolute end need it.
        kwargs: the schedule's own arguments.

    Returns:
        Steps done -> factor of the learning rate of the next step.

    Raises:
        ConfigurationError: `kwargs` has an unknown name, lacks one or holds a value that makes no sense.
    """
    function = SCHEDULES[name]
    own = {n: p for n, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    problems = [f"lr_scheduler_kwargs: {name} takes no {n!r}{near(n, own)}" for n in kwargs if n not in own]
    problems += [
        f"lr_scheduler_kwargs: {name} needs {n!r}; set lr_scheduler_kwargs={{{n!r}: ...}}"
        for n, p in own.items()
        if p.default is p.empty and n not in kwargs
    ]
    if problems:
        raise ConfigurationError(problems)
    return function(warmup_steps, total_steps, learning_rate, **kwargs)


def _warm(step: int, warmup: int) -> float:
    return step / max(1, warmup)


def _progress(step: int, warmup: int, total: int) -> float:
    """Share of the steps after the warm-up that are done; above 1 beyond the end."""
    return (step - warmup) / max(1, total - warmup)


def _cosine_wave(progress: float, num_cycles: float, floor: float) -> float:
    wave = 0.5 * (1.0 + math.cos(math.pi * 2.0 * num_cycles * progress))
    return max(0.0, wave * (1.0 - floor) + floor)


def _constant_at(step: int) -> float:
    return 1.0


def _constant(warmup: int, total: int, lr: float) -> Factor:
    return _constant_at


def _constant_with_warmup_at(step: int, warmup: int) -> float:
    return _warm(step, warmup) if step < warmup else 1.0


def _constant_with_warmup(warmup: int, total: int, lr: float) -> Factor:
    return functools.partial(_constant_with_warmup_at, warmup=warmup)


def _linear_at(step: int, warmup: int, total: int) -> float:
    return _warm(step, warmup) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))


def _linear(warmup: int, total: int, lr: float) -> Factor:
    return functools.partial(_linear_at, warmup=warmup, total=total)


def _cosine_at(step: int, warmup: int, total: int, num_cycles: float, floor: float) -> float:
    return _warm(step, warmup) if step < warmup else _cosine_wave(_progress(step, warmup, total), num_cycles, floor)


def _cosine(warmup: int, total: int, lr: float, *, num_cycles: float = 0.5) -> Factor:
    return functools.partial(_cosine_at, warmup=warmup, total=total, num_cycles=num_cycles, floor=0.0)


def _restarts_at(step: int, warmup: int, total: int, num_cycles: int) -> float:
    if step < warmup:
        return _warm(step, warmup)
    progress = _progress(step, warmup, total)
    return 0.0 if progress >= 1.0 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((num_cycles * progress) % 1.0))))


def _restarts(warmup: int, total: int, lr: float, *, num_cycles: int = 1) -> Factor:
    return functools.partial(_restarts_at, warmup=warmup, total=total, num_cycles=num_cycles)


def _polynomial_at(step: int, warmup: int, total: int, end: float, power: float) -> float:
    if step < warmup:
        return _warm(step, warmup)
    if step > total:
        return end
    left: float = (1.0 - _progress(step, warmup, total)) ** power
    return (1.0 - end) * left + end


def _polynomial(warmup: int, total: int, lr: float, *, lr_end: float = 1e-7, power: float = 1.0) -> Factor:
    if lr_end >= lr:
        problem = f"lr_scheduler_kwargs: lr_end={lr_end}: expected less than learning_rate={lr}"
        raise ConfigurationError([f"{problem}; lower it, or raise the rate"])
    return functools.partial(_polynomial_at, warmup=warmup, total=total, end=lr_end / lr, power=power)


def _inverse_sqrt_at(step: int, warmup: int, timescale: int) -> float:
    return _warm(step, warmup) if step < warmup else 1.0 / math.sqrt((step + timescale - warmup) / timescale)


def _inverse_sqrt(warmup: int, total: int, lr: float, *, timescale: int | None = None) -> Factor:
    return functools.partial(_inverse_sqrt_at, warmup=warmup, timescale=timescale or warmup or 10_000)


def _floor(lr: float, min_lr: float | None, min_lr_rate: float | None) -> float:
    if (min_lr is None) == (min_lr_rate is None):
        problem = f"lr_scheduler_kwargs: expected one of min_lr={min_lr} and min_lr_rate={min_lr_rate} to be a number"
        raise ConfigurationError([f"{problem}; leave the other out"])
    if min_lr is not None and lr <= 0:
        raise ConfigurationError([f"min_lr={min_lr} with learning_rate={lr}: expected a rate above 0; use min_lr_rate"])
    return min_lr / lr if min_lr is not None else float(min_lr_rate or 0.0)


def _cosine_to_min(
    warmup: int,
    total: int,
    lr: float,
    *,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> Factor:
    floor = _floor(lr, min_lr, min_lr_rate)
    return functools.partial(_cosine_at, warmup=warmup, total=total, num_cycles=num_cycles, floor=floor)


def _cosine_warmed_at(
    step: int, warmup: int, total: int, num_cycles: float, floor: float, warmup_lr_rate: float | None
) -> float:
    if step < warmup and warmup_lr_rate is None:
        return (step + 1.0) / max(1, warmup)
    if step < warmup:
        assert warmup_lr_rate is not None
        return warmup_lr_rate + (1.0 - warmup_lr_rate) * step / max(1, warmup - 1)
    return _cosine_wave(_progress(step + 1, warmup, total), num_cycles, floor)


def _cosine_warmed_to_min(
    warmup: int,
    total: int,
    lr: float,
    *,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> Factor:
    floor = _floor(lr, min_lr, min_lr_rate)
    return functools.partial(
        _cosine_warmed_at,
        warmup=warmup,
        total=total,
        num_cycles=num_cycles,
        floor=floor,
        warmup_lr_rate=warmup_lr_rate,
    )


# How far a phase of warmup_stable_decay has risen when a share of it is done; a decay is one of them mirrored.
_SHAPES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda share, cycles: share,
    "cosine": lambda share, cycles: 0.5 * (1.0 - math.cos(math.pi * 2.0 * cycles * share)),
    "1-sqrt": lambda share, cycles: 1.0 - math.sqrt(1.0 - share),
}


def _three_phases_at(
    step: int,
    warmup: int,
    stable: int,
    decay: int,
    warmup_type: str,
    decay_type: str,
    floor: float,
    num_cycles: float,
) -> float:
    if step < warmup:
        return max(0.0, _SHAPES[warmup_type](step / max(1, warmup), 0.5) * (1.0 - floor) + floor)
    if step < warmup + stable:
        return 1.0
    if step >= warmup + stable + decay:
        return floor
    share = (step - warmup - stable) / max(1, decay)
    left = 1.0 - math.sqrt(share) if decay_type == "1-sqrt" else 1.0 - _SHAPES[decay_type](share, num_cycles)
    return max(0.0, left * (1.0 - floor) + floor)


def _three_phases(
    warmup: int,
    total: int,
    lr: float,
    *,
    num_decay_steps: int,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> Factor:
    types = {"warmup_type": warmup_type, "decay_type": decay_type}
    problems = [
        f"lr_scheduler_kwargs: {n}={v!r}: expected one of {[*_SHAPES]}" for n, v in types.items() if v not in _SHAPES
    ]
    if problems:
        raise ConfigurationError(problems)
    return functools.partial(
        _three_phases_at,
        warmup=warmup,
        stable=total - warmup - num_decay_steps if num_stable_steps is None else num_stable_steps,
        decay=num_decay_steps,
        warmup_type=warmup_type,
        decay_type=decay_type,
        floor=min_lr_ratio,
        num_cycles=num_cycles,
    )


SCHEDULES: dict[str, Callable[..., Factor]] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "polynomial": _polynomial,
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "inverse_sqrt": _inverse_sqrt,
    "cosine_with_min_lr": _cosine_to_min,
    "cosine_warmup_with_min_lr": _cosine_warmed_to_min,
    "warmup_stable_decay": _three_phases,
}
