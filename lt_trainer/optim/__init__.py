"""Optimizers and learning rate schedules: decay groups, the table of names, schedules as step -> factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lt_trainer.optim.groups import decay_groups, decaying
from lt_trainer.optim.named import get_scheduler
from lt_trainer.optim.schedules import SCHEDULES, schedule
from lt_trainer.optim.table import (
    OPTIMIZERS,
    class_and_kwargs,
    create_optimizer,
    create_user_optimizer,
    optimizer_class,
    read_optim_args,
)
from lt_trainer.optim.warmups import warmup_schedule
from lt_trainer.optim.watchers import Watcher

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

    from lt_trainer.args.plan import Optimization

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Watcher",
    "class_and_kwargs",
    "create_optimizer",
    "create_scheduler",
    "create_user_optimizer",
    "decay_groups",
    "decaying",
    "get_scheduler",
    "optimizer_class",
    "read_optim_args",
    "schedule",
    "warmup_schedule",
]


def create_scheduler(optimizer: Optimizer, plan: Optimization, total_steps: int | None = None) -> LambdaLR | Watcher:
    """Makes the schedule of a plan; `total_steps` replaces the plan's.

    Returns:
        One that is stepped once an optimizer step, or a `Watcher`, stepped with a metric once an evaluation.
    """
    from torch.optim.lr_scheduler import LambdaLR

    if plan.scheduler.startswith("Warmup"):  # of a DeepSpeed configuration
        return LambdaLR(optimizer, warmup_schedule(plan.scheduler, plan.learning_rate, **plan.scheduler_kwargs))
    total = plan.total_steps if total_steps is None else total_steps
    return get_scheduler(plan.scheduler, optimizer, plan.warmup_steps, total, plan.scheduler_kwargs)
