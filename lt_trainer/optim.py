"""Optimizers and learning rate schedules: decay groups, a table of optimizers, schedules as step -> factor."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lt_trainer.args.check import ConfigurationError, near

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lt_trainer.args.plan import Optimization

Factor = Callable[[int], float]

_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)")
_NORMS = (nn.LayerNorm, nn.RMSNorm)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: those that decay, then biases and norms, which do not.

    The order within a group is that of `named_parameters`, tied weights once: the state of an optimizer over them fits
    that of `transformers`, whose rules these are.
    """
    norms = {id(p) for module in model.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            still = id(parameter) in norms or _NO_DECAY.search(name.lower())
            (stays if still else decays).append(parameter)
    if not decays and not stays:
        raise ValueError(
            "the model has no parameter to train: expected some with requires_grad=True, received none: unfreeze some, "
            "parameter.requires_grad_()"
        )
    return [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("LayerNorm", "RMSNorm"))


# Name -> class, and what it always gets. Adam's betas and epsilon go to those that take betas.
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "adamw_torch": (torch.optim.AdamW, {}),
    "adamw_torch_fused": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
}


def create_optimizer(model: nn.Module, plan: Optimization) -> Optimizer:
    """Makes the optimizer of a plan over the decay groups of a model.

    Raises:
        ConfigurationError: `optim_args` names what the optimizer does not take.
    """
    cls, always = OPTIMIZERS[plan.name]
    takes = inspect.signature(cls).parameters
    given = read_optim_args(plan.args)
    problems = [f"optim_args: {plan.name} takes no {name!r}{near(name, takes)}" for name in given if name not in takes]
    if problems:
        raise ConfigurationError(problems)
    adam = {"betas": plan.betas, "eps": plan.epsilon} if "betas" in takes else {}
    return cls(decay_groups(model, plan.weight_decay), **{"lr": plan.learning_rate, **adam, **always, **given})


def read_optim_args(text: str | None) -> dict[str, Any]:
    """Reads "momentum=0.9,nesterov=True" to numbers, switches and words.

    Raises:
        ConfigurationError: a part is not name=value.
    """
    values: dict[str, Any] = {}
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigurationError(
                [f"optim_args={text!r}: expected name=value,name=value, received {part!r}; write {part}=VALUE"]
            )
        try:
            values[name] = ast.literal_eval(value.capitalize() if value in ("true", "false") else value)
        except (ValueError, SyntaxError):
            values[name] = value
    return values


def create_scheduler(optimizer: Optimizer, plan: Optimization, total_steps: int | None = None) -> LambdaLR:
    """Makes the schedule of a plan, to be stepped once an optimizer step; `total_steps` replaces the plan's."""
    total = plan.total_steps if total_steps is None else total_steps
    base = optimizer.defaults["lr"]
    factor = schedule(plan.scheduler, plan.warmup_steps, total, learning_rate=base, kwargs=plan.scheduler_kwargs)
    return LambdaLR(optimizer, factor)


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
