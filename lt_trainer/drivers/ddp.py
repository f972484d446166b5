"""DistributedDataParallel: every process holds the model and a share of each micro-batch."""

from __future__ import annotations

import atexit
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from lt_trainer.drivers.base import Driver

if TYPE_CHECKING:
    import lightning.pytorch as pl


class DDPDriver(Driver):
    """Exchanges gradients once a step, in its last micro-batch."""

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__(trainer)
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)

    @property
    def world_size(self) -> int:
        """Processes of the group."""
        return dist.get_world_size()

    @property
    def rank(self) -> int:
        """Of the group."""
        return dist.get_rank()

    def alone(self) -> AbstractContextManager[Any]:
        """A metric of torchmetrics would otherwise wait for the other processes, who do not call it."""
        return patch.object(dist, "is_initialized", lambda: False)

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """`no_sync` of DDP in all but the last."""
        strategy = self.trainer.strategy
        assert isinstance(strategy, DDPStrategy)
        return nullcontext() if last else strategy.block_backward_sync()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """All-reduced; `value` stays as it was."""
        total = value.to(self.trainer.strategy.root_device, copy=True)
        dist.all_reduce(total)
        return total

    def gather(self, value: Any) -> list[Any]:
        """All-gathered."""
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, value)
        return parts


def _leave_group() -> None:
    """Gloo's threads must end before the interpreter does, or the process aborts at its very end."""
    if dist.is_initialized():
        dist.destroy_process_group()
