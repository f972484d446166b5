"""One process on one device: the driver that others refine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import lightning.pytorch as pl

T = TypeVar("T")


class Driver:
    """What the step, the evaluation and the checkpoint need to know of a strategy.

    Args:
        trainer: a Lightning trainer whose strategy is set up.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer = trainer

    @property
    def world_size(self) -> int:
        """Processes that share a batch."""
        return 1

    @property
    def rank(self) -> int:
        """This process among them."""
        return 0

    def alone(self) -> AbstractContextManager[Any]:
        """Wraps what one process does while the others wait: what would look for them must find none."""
        return nullcontext()

    def first(self, function: Callable[[], T]) -> T:
        """What `function` returns on the first process, on every process.

        Raises:
            Exception: what it raised, on the first process; RuntimeError with its text on the others.
        """
        found: tuple[T | None, str | None] = None, None
        error: Exception | None = None
        if self.rank == 0:
            try:
                with self.alone():
                    found = function(), None
            except Exception as raised:
                if self.world_size == 1:
                    raise
                error, found = raised, (None, repr(raised))
        result, message = self.gather(found)[0]
        if error is not None:
            raise error
        if message is not None:
            raise RuntimeError(f"the first process failed, and with it this one: {message}")
        return cast(T, result)

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Wraps forward and backward of a micro-batch; gradients are exchanged in the `last` of a step alone."""
        return nullcontext()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """A picklable object of every process, in the order of ranks, on every process."""
        return [value]

    def clip(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
        """Scales the gradients to at most `max_norm` (0: leaves them) and returns their norm before that, 0-d."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if max_norm > 0 and not (
            norm.is_cpu and float(norm) + 1e-6 <= max_norm
        ):  # to ask a GPU would be to wait for it
            # clip_coef as in torch.nn.utils.clip_grads_with_norm_, whose input must be parameters
            coefficient = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
            torch._foreach_mul_(gradients, coefficient)
        return norm
