"""What a step takes from outside and leaves behind: the facade's hooks, the outcome, the error that ends a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lt_trainer.criterion import Criterion
from lt_trainer.data.windows import Batch
from lt_trainer.optim import Watcher

if TYPE_CHECKING:
    from lt_trainer.drivers import Driver

OptimizerFactory: TypeAlias = Callable[[nn.Module], tuple[Optimizer, LRScheduler | Watcher | None]]
UserLoss: TypeAlias = Callable[[nn.Module, Batch, torch.Tensor, float], tuple[torch.Tensor, Any]]
UserStep: TypeAlias = Callable[[nn.Module, Batch, torch.Tensor], torch.Tensor]
UserPrediction: TypeAlias = Callable[[nn.Module, Batch, bool], tuple[torch.Tensor | None, Any, Any]]


@dataclass
class StepOutcome:
    """What a step left: tensors stay on the device until somebody reads them.

    Attributes:
        loss: this rank's part of the step's loss, 0-d; the sum over ranks is the loss.
        grad_norm: before clipping, over all parameters, 0-d.
        learning_rate: of the first group, as the step used it.
        plain_loss: as `loss`, without label smoothing; None where nothing is smoothed.
        skipped: whether the weights stayed as they were, since a gradient was not finite (`on_nan`).
    """

    loss: torch.Tensor
    grad_norm: torch.Tensor | None
    learning_rate: float
    plain_loss: torch.Tensor | None = None
    skipped: bool = False


class NonFiniteError(ArithmeticError):
    """A gradient was NaN or infinite: the weights are those of the step before."""


@dataclass
class StepHooks:
    """What a facade may bring: each is used where it is given, in the place that the module's text shows.

    Attributes:
        compute_loss: (model, batch, targets of the step, targets of the batch) -> (loss, outputs), in place of the
            model's own loss.
        training_step: (model, batch, targets of the step) -> detached loss, which has gone backward, in place of both;
            processes average it.
        prediction_step: (model, batch, loss alone) -> (mean loss over the batch's targets, predictions, labels).
        predict: (model, batch) -> predictions, in place of the model's outputs: generated tokens.
        fire: called with the name of an event inside a step.
        check_batch: raises on a batch that the model cannot take (batch, rows).
        criterion: label smoothing and class weights of the model's own loss.
        label_names: the batch's columns that hold labels; empty: those that the model takes.
        count_tokens: input tokens of a padded batch; None counts nothing.
        count_flos: operations of its forward and backward pass; likewise.
        on_nan: what follows gradients that are not finite, unless an fp16 scaler sees to them. "stop" raises, "skip"
            goes on; in both the weights stay as they were. "ignore" hands them to the optimizer.
        before_stop: called before "stop" raises.
        shrinks: where memory runs out, a step is done again in micro-batches of half the rows (`auto_find_batch_size`).
        agree: called when the processes of a training run know each other; raises where they would not train the same.
        votes: small numbers that all ranks add up once a step, beside the targets; the sums are `StepModule.votes`.
    """

    compute_loss: UserLoss | None = None
    training_step: UserStep | None = None
    prediction_step: UserPrediction | None = None
    predict: Callable[[nn.Module, Batch], Any] | None = None
    fire: Callable[[str], None] = field(default=lambda event: None)
    check_batch: Callable[[Batch, list[int]], None] | None = None
    criterion: Criterion = field(default_factory=Criterion)
    label_names: tuple[str, ...] = ()
    count_tokens: Callable[[Batch], int] | None = None
    count_flos: Callable[[Batch], int] | None = None
    on_nan: str = "stop"
    before_stop: Callable[[], None] = field(default=lambda: None)
    shrinks: bool = False
    agree: Callable[[Driver], None] = field(default=lambda driver: None)
    votes: Callable[[], tuple[int, ...]] = tuple
