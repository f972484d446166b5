"""How long a run is: epochs and rows become optimizer steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.hardware import Facts


@dataclass(frozen=True)
class Duration:
    """Length of the run in optimizer steps and epochs.

    Attributes:
        max_epochs: `num_epochs` rounded up, as loops count them.
        num_epochs: passes over the data that `max_steps` make, with the fraction.
        steps_per_epoch: optimizer steps; a short last window is one.
        effective_batch_size: rows a step: per device x devices x accumulation.
        stop_by_steps: whether the arguments gave steps, not epochs.
    """

    max_steps: int
    max_epochs: int
    num_epochs: float
    steps_per_epoch: int
    warmup_steps: int
    effective_batch_size: int
    stop_by_steps: bool


def micro_batches(args: TrainingArguments, facts: Facts, world_size: int) -> int | None:
    """Micro-batches a process and epoch, equal on all processes; None where the data has no length."""
    if facts.num_train_batches is not None or facts.num_train_rows is None:
        return facts.num_train_batches
    rows = args.per_device_train_batch_size * world_size
    return facts.num_train_rows // rows if args.dataloader_drop_last else -(-facts.num_train_rows // rows)


def plan_duration(args: TrainingArguments, facts: Facts, world_size: int) -> tuple[Duration, list[str]]:
    """Steps and epochs, none where there is nothing to train on, or no end; and then why."""
    by_steps, accumulation = args.max_steps > 0, args.gradient_accumulation_steps
    effective = args.per_device_train_batch_size * world_size * accumulation
    batches, none = micro_batches(args, facts, world_size), Duration(0, 0, 0.0, 0, 0, effective, by_steps)
    if not facts.has_train:
        return none, []
    if batches == 0:
        return none, [_nothing(args, facts, world_size)]
    if batches is None and not by_steps:
        return none, ["max_steps=-1: the training data has no length, so epochs have no end; set max_steps"]
    steps_per_epoch = args.max_steps if batches is None else -(-batches // accumulation)
    max_steps = args.max_steps if by_steps else math.ceil(args.num_train_epochs * steps_per_epoch)
    epochs = max_steps / steps_per_epoch if by_steps else args.num_train_epochs
    # An epoch of unknown length has at least one step.
    max_epochs = max_steps if batches is None else math.ceil(epochs)
    warmup = args.get_warmup_steps(max_steps)
    return Duration(max_steps, max_epochs, epochs, steps_per_epoch, warmup, effective, by_steps), []


def _nothing(args: TrainingArguments, facts: Facts, world_size: int) -> str:
    if not facts.num_train_rows:
        return "the training data set is empty: expected at least one row; look at how it was read or filtered"
    rows = args.per_device_train_batch_size * world_size
    return (
        f"dataloader_drop_last=True leaves no batch: {facts.num_train_rows} rows where a batch takes {rows}; "
        "make the batch smaller or keep the last one"
    )
