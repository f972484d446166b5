"""Schedules that follow a metric of the evaluation in place of the steps."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from torch.optim.lr_scheduler import ReduceLROnPlateau

from lt_trainer.args.check import ConfigurationError, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer


class GreedyLR:
    """Raises the rate while a metric improves and lowers it while it does not.

    After more than `patience` evaluations in a row that were better, the rate is divided by `factor`; after as many
    that were not, it is multiplied by it. Once every group has been at `min_lr` for `reset_start` such reductions, all
    starts anew. Steps, defaults and the saved state are those of `transformers`.

    Args:
        optimizer: whose groups' rates are changed.
        mode: "min" where less of the metric is better, "max" where more is.
        factor: below 1.
        patience: evaluations.
        threshold: by how much better counts.
        threshold_mode: "abs", or "rel" for a share of the best.
        cooldown: evaluations without a change after a reduction.
        warmup: likewise after an increase.
        min_lr: lower bound of the rate, or one a group.
        max_lr: upper bound, or one a group.
        eps: smaller changes of the rate are left out.
        verbose: prints each change.
        smooth: judges the mean of the last `window_size` values.
        window_size: evaluations.
        reset_start: reductions at the lower bound.

    Source: https://arxiv.org/abs/2512.14527
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        threshold_mode: str = "abs",
        cooldown: int = 0,
        warmup: int = 0,
        min_lr: float | Sequence[float] = 1e-3,
        max_lr: float | Sequence[float] = 1.0,
        eps: float = 1e-8,
        verbose: bool = False,
        smooth: bool = False,
        window_size: int = 50,
        reset_start: int = 500,
    ) -> None:
        for name, value, allowed in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in allowed:
                raise ValueError(f"GreedyLR: {name}={value!r}: expected one of {allowed}{near(value, allowed)}")
        if not 0 < factor < 1:
            raise ValueError(f"GreedyLR: factor={factor}: expected above 0 and below 1; take 0.95")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.eps, self.verbose = mode, factor, patience, eps, verbose
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.warmup, self.smooth, self.window_size = cooldown, warmup, smooth, window_size
        self.min_lrs, self.max_lrs = self._one_a_group("min_lr", min_lr), self._one_a_group("max_lr", max_lr)
        self.reset_start = self.reset_start_original = reset_start
        self.last_epoch = 0
        self._init_lrs = [group["lr"] for group in optimizer.param_groups]
        self._last_lr = [*self._init_lrs]
        self._forget()

    def _one_a_group(self, name: str, value: float | Sequence[float]) -> list[float]:
        groups = len(self.optimizer.param_groups)
        values = [value] * groups if isinstance(value, int | float) else [*value]
        if len(values) != groups:
            raise ValueError(f"GreedyLR: {name}={value}: expected one number, or {groups}, one a group; change {name}")
        return values

    def _forget(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = self.num_good_epochs = self.cooldown_counter = self.warmup_counter = 0
        self._recent: list[float] = []
        self._recent_sum = 0.0

    def step(self, metrics: float) -> None:
        """Called with the metric after each evaluation."""
        current = self._smoothed(float(metrics)) if self.smooth else float(metrics)
        self.last_epoch += 1
        if self.cooldown_counter > 0 or self.warmup_counter > 0:
            which = "cooldown_counter" if self.cooldown_counter > 0 else "warmup_counter"
            setattr(self, which, getattr(self, which) - 1)
            self.num_bad_epochs = self.num_good_epochs = 0
        else:
            self._judge(current)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _smoothed(self, value: float) -> float:
        self._recent.append(value)
        self._recent_sum += value
        if len(self._recent) > self.window_size:
            self._recent_sum -= self._recent.pop(0)
        return self._recent_sum / len(self._recent)

    def _judge(self, current: float) -> None:
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs, self.num_good_epochs = current, 0, self.num_good_epochs + 1
        else:
            self.num_bad_epochs, self.num_good_epochs = self.num_bad_epochs + 1, 0
        if self.num_good_epochs > self.patience:
            self._change("increasing", [min(lr / self.factor, top) for lr, top in self._rates(self.max_lrs)], 1)
            self.reset_start = self.reset_start_original
            self.warmup_counter, self.num_good_epochs = self.warmup, 0
        elif self.num_bad_epochs > self.patience:
            self._change("reducing", [max(lr * self.factor, least) for lr, least in self._rates(self.min_lrs)], -1)
            if all(lr <= least for lr, least in self._rates(self.min_lrs)):
                self._wait_at_the_bottom()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _rates(self, bounds: list[float]) -> list[tuple[float, float]]:
        return [(float(g["lr"]), bound) for g, bound in zip(self.optimizer.param_groups, bounds, strict=True)]

    def _change(self, what: str, rates: list[float], sign: int) -> None:
        for number, (group, rate) in enumerate(zip(self.optimizer.param_groups, rates, strict=True)):
            if sign * (rate - float(group["lr"])) > self.eps:
                group["lr"] = rate
                if self.verbose:
                    print(f"evaluation {self.last_epoch}: {what} the learning rate of group {number} to {rate:.4e}")

    def _wait_at_the_bottom(self) -> None:
        self.reset_start -= 1
        if self.reset_start <= 0:
            for group, rate in zip(self.optimizer.param_groups, self._init_lrs, strict=True):
                group["lr"] = rate
            self.reset_start = self.reset_start_original
            self._forget()

    def is_better(self, current: float, best: float) -> bool:
        """Whether a value beats the best by more than the threshold."""
        sign = 1 if self.mode == "min" else -1
        bar = best * (1.0 - sign * self.threshold) if self.threshold_mode == "rel" else best - sign * self.threshold
        return current < bar if self.mode == "min" else current > bar

    def get_last_lr(self) -> list[float]:
        """The rates after the last step, one a group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain values under the names of `transformers`."""
        hidden = ("optimizer", "_recent", "_recent_sum")
        state = {name: value for name, value in vars(self).items() if name not in hidden}
        if self.smooth:
            recent = {"window_size": self.window_size, "values": [*self._recent], "sum": self._recent_sum}
            state["_streaming_avg"] = recent
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave, the groups' rates too."""
        state = dict(state_dict)
        if recent := state.pop("_streaming_avg", None):
            self._recent, self._recent_sum = [*recent["values"]], recent["sum"]
        vars(self).update({name: value for name, value in state.items() if name in vars(self) and name != "optimizer"})
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


Watcher: TypeAlias = ReduceLROnPlateau | GreedyLR
_CLASSES: dict[str, type[Watcher]] = {"reduce_lr_on_plateau": ReduceLROnPlateau, "greedy": GreedyLR}


def create_watcher(name: str, optimizer: Optimizer, kwargs: dict[str, Any]) -> Watcher:
    """A schedule that is stepped with a metric after each evaluation.

    Args:
        name: reduce_lr_on_plateau or greedy.
        optimizer: whose rates it changes.
        kwargs: of torch's ReduceLROnPlateau, or of GreedyLR.

    Raises:
        ConfigurationError: `kwargs` has an unknown name or a value that makes no sense.
    """
    cls = _CLASSES[name]
    takes = [*inspect.signature(cls).parameters][1:]
    if problems := [f"lr_scheduler_kwargs: {name} takes no {n!r}{near(n, takes)}" for n in kwargs if n not in takes]:
        raise ConfigurationError(problems)
    try:
        return cls(optimizer, **kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigurationError([f"lr_scheduler_kwargs={kwargs}: {error}"]) from error
