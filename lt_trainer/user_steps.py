"""What a user's overrides make of a step: a loss, a prediction, in place of the model's own."""

from __future__ import annotations

import dis
import inspect
import types
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.objective import count_targets, inputs_of, label_names_of, model_loss, predictions_of

if TYPE_CHECKING:
    from torch import nn

    from lt_trainer.hooks import UserLoss
    from lt_trainer.trainer import Trainer


def user_loss(facade: Trainer) -> UserLoss | None:
    """The facade's `compute_loss` where a subclass overrides it or the caller brought a function; else None.

    An override that makes no use of `num_items_in_batch` returns the mean over a micro-batch, which is weighed by the
    micro-batch's share of the step's targets (`Overridable.loss_is_scaled_for_ga` says otherwise).
    """
    if not facade.replaces_loss:
        return None
    takes_count = "num_items_in_batch" in inspect.signature(facade.compute_loss).parameters
    is_part = facade.loss_is_scaled_for_ga
    if is_part is None:
        is_part = reads_parameter(facade.compute_loss, "num_items_in_batch")

    def compute(model: nn.Module, batch: Any, num_targets: torch.Tensor, count: float) -> tuple[torch.Tensor, Any]:
        given = {"num_items_in_batch": num_targets} if takes_count else {}
        loss, outputs = facade.compute_loss(model, batch, return_outputs=True, **given)
        return (loss if is_part else loss * (count / num_targets)), outputs

    return compute


def reads_parameter(function: Any, name: str) -> bool:
    """Whether a function takes a parameter and does something with it; only taking it is no use of it."""
    if name not in inspect.signature(function).parameters:
        return False
    plain = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(plain, types.FunctionType):
        return True
    return any(i.argval == name or name in _pair(i.argval) for i in dis.get_instructions(plain) if "LOAD" in i.opname)


def _pair(value: Any) -> tuple[Any, ...]:
    """Python 3.12 and later load two variables in one instruction."""
    return value if isinstance(value, tuple) else ()


def step_loss(facade: Trainer, model: nn.Module, batch: Any, num_targets: torch.Tensor) -> torch.Tensor:
    """The part of a step's loss that one micro-batch brings, 0-d, by whatever computes this trainer's loss."""
    count, compute = count_targets(model, batch, facade.criterion), user_loss(facade)
    if compute is None:
        return model_loss(model, batch, num_targets, facade.criterion)[0]
    return compute(model, batch, num_targets, count)[0]


def prediction_step(
    facade: Trainer, model: nn.Module, batch: dict[str, Any], loss_only: bool, ignore_keys: list[str] | None
) -> tuple[torch.Tensor | None, Any, Any]:
    """(mean loss over the batch's targets, logits, labels) of one batch: see `Overridable.prediction_step`."""
    names = facade.args.label_names or label_names_of(model)
    labels = tuple(batch[name] for name in names if batch.get(name) is not None)
    ignored = ignored_outputs(model) if ignore_keys is None else tuple(ignore_keys)
    predict, loss, outputs = facade.predictor(), None, None
    with torch.no_grad():
        if labels:
            count = count_targets(model, batch, facade.criterion)
            compute = user_loss(facade) or (lambda m, b, targets, _: model_loss(m, b, targets, facade.criterion))
            loss, outputs = compute(model, dict(batch), torch.tensor(count or 1), count)
        elif predict is None:
            outputs = model(**inputs_of(batch))
    if loss_only:
        return loss, None, None
    predictions = predictions_of(outputs, loss is not None, ignored) if predict is None else predict(model, batch)
    return loss, predictions, (labels[0] if len(labels) == 1 else labels or None)


def ignored_outputs(model: nn.Module) -> tuple[str, ...]:
    """Outputs that models of `transformers` say are no predictions, such as caches."""
    config = getattr(model, "config", None)
    return () if config is None else tuple(getattr(config, "keys_to_ignore_at_inference", ("past_key_values",)))
