"""Adafactor as `transformers` steps it: torch's own class of that name scales and decays in another way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


class Adafactor(Optimizer):
    """Adam's second moment as a row and a column in place of a whole matrix: for a matrix [M, N], M + N numbers.

    Names and defaults are those of `transformers`, and so is the saved state.

    Args:
        params: parameters or groups of them.
        lr: learning rate; None with `relative_step`.
        eps: added to squared gradients, and the least scale of a parameter.
        clip_threshold: an update's root mean square is at most this.
        decay_rate: the second moment's decay at step t is 1 - t ** decay_rate.
        beta1: decay of a first moment; None keeps none.
        weight_decay: share of the weights that a step takes away, times the rate.
        scale_parameter: the rate is times the root mean square of the parameter.
        relative_step: the rate is 1 / sqrt(t), at most 0.01.
        warmup_init: that bound rises from 0, 1e-6 a step.

    Source: https://arxiv.org/abs/1804.04235
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        if lr is not None and relative_step:
            raise ValueError(f"Adafactor: lr={lr} with relative_step=True: expected one of them; set the other off")
        if warmup_init and not relative_step:
            raise ValueError(
                "Adafactor: warmup_init=True needs relative_step=True, received False; set it, or leave it out"
            )
        defaults = {
            **{"lr": lr, "eps": eps, "clip_threshold": clip_threshold, "decay_rate": decay_rate, "beta1": beta1},
            **{"weight_decay": weight_decay, "scale_parameter": scale_parameter, "relative_step": relative_step},
            "warmup_init": warmup_init,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, self.state[parameter])
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if parameter.grad is None or parameter.grad.is_sparse:
            raise RuntimeError(
                "Adafactor takes no sparse gradients: expected dense ones; set sparse=False on embeddings"
            )
        half = parameter.dtype in (torch.float16, torch.bfloat16)
        weight = parameter.float() if half else parameter
        grad = parameter.grad.float() if parameter.grad.dtype in (torch.float16, torch.bfloat16) else parameter.grad
        if not state:
            state.update(_initial_state(grad, group["beta1"] is not None))
        state.update({name: value.to(grad) for name, value in state.items() if name.startswith("exp_avg")})
        state["step"] += 1
        state["RMS"] = _rms(weight)
        rate = _rate(group, state)
        update = _precondition(grad, state, 1.0 - math.pow(state["step"], group["decay_rate"]), group["eps"][0])
        update.div_((_rms(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(rate)
        if group["beta1"] is not None:
            update = state["exp_avg"].mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        if group["weight_decay"] != 0:
            weight.add_(weight, alpha=-group["weight_decay"] * rate)
        weight.add_(-update)
        if half:
            parameter.copy_(weight)


def _initial_state(grad: Tensor, first_moment: bool) -> dict[str, Any]:
    state: dict[str, Any] = {"step": 0, "RMS": 0}
    if first_moment:
        state["exp_avg"] = torch.zeros_like(grad)
    if grad.ndim < 2:
        return {**state, "exp_avg_sq": torch.zeros_like(grad)}
    return {
        **state,
        "exp_avg_sq_row": grad.new_zeros(grad.shape[:-1]),
        "exp_avg_sq_col": grad.new_zeros(grad.shape[:-2] + grad.shape[-1:]),
    }


def _precondition(grad: Tensor, state: dict[str, Any], beta2: float, eps: float) -> Tensor:
    """The gradient over the root of its second moment; a matrix's moment is the product of its two margins."""
    squared = grad**2 + eps
    if grad.ndim < 2:
        whole: Tensor = state["exp_avg_sq"].mul_(beta2).add_(squared, alpha=1.0 - beta2)
        return whole.rsqrt().mul_(grad)
    row: Tensor = state["exp_avg_sq_row"].mul_(beta2).add_(squared.mean(dim=-1), alpha=1.0 - beta2)
    column: Tensor = state["exp_avg_sq_col"].mul_(beta2).add_(squared.mean(dim=-2), alpha=1.0 - beta2)
    row = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    return torch.mul(row, column.unsqueeze(-2).rsqrt()).mul_(grad)


def _rms(x: Tensor) -> Tensor:
    mean: Tensor = x.norm(2) / x.numel() ** 0.5
    return mean


def _rate(group: dict[str, Any], state: dict[str, Any]) -> Any:
    rate = group["lr"]
    if group["relative_step"]:
        bound = 1e-6 * state["step"] if group["warmup_init"] else 1e-2
        rate = min(bound, 1.0 / math.sqrt(state["step"]))
    return max(group["eps"][1], state["RMS"]) * rate if group["scale_parameter"] else rate


class AdafactorSchedule(LambdaLR):
    """Shows a trainer the rates that an Adafactor with `relative_step` chooses by itself; it changes none.

    Args:
        optimizer: the Adafactor.
        initial_lr: shown before the first step.
    """

    def __init__(self, optimizer: Adafactor, initial_lr: float = 0.0) -> None:
        for group in optimizer.param_groups:
            group["initial_lr"] = initial_lr
        super().__init__(optimizer, lambda step: initial_lr)
        for group in optimizer.param_groups:
            del group["initial_lr"]

    def get_lr(self) -> list[Any]:
        """The rate of each group's first parameter that has a gradient."""
        groups = [group for group in self.optimizer.param_groups if group["params"][0].grad is not None]
        return [_rate(group, self.optimizer.state[group["params"][0]]) for group in groups] or self.base_lrs


def get_adafactor_schedule(optimizer: Adafactor, initial_lr: float = 0.0) -> AdafactorSchedule:
    """An `AdafactorSchedule`."""
    return AdafactorSchedule(optimizer, initial_lr)
