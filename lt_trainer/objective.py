"""What a model returned, read in one way for native models, models of `transformers` and any other module."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils._pytree import tree_leaves

from lt_trainer.criterion import Criterion, spread
from lt_trainer.losses import LOSS_WEIGHTS, mean_loss
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.generate import Generates

if TYPE_CHECKING:
    from lt_trainer.data.windows import Batch
    from lt_trainer.losses import SumAndCount

_IGNORED = -100
_PLAIN = Criterion()
_SPANS = ("start_positions", "end_positions")


def count_targets(model: nn.Module, batch: Batch, criterion: Criterion | None = None) -> float:
    """Targets of a batch that enter the loss, or what they weigh; native models know, for others the labels tell.

    A model of another library must return the mean over its targets; those of a causal language model are the
    labels after the first of each row.

    Args:
        model: of the run.
        batch: a padded batch.
        criterion: where it weighs classes, targets count as much as they weigh; so they do by `loss_weights`.
    """
    if batch.get(LOSS_WEIGHTS) is not None:
        return (criterion or _PLAIN).weigh(*_weighed_targets(model, batch))
    if criterion is not None and criterion.class_weights is not None and batch.get("labels") is not None:
        return criterion.weigh(_class_labels(batch))
    labels = batch.get("labels")
    if labels is None:
        labels = batch.get("start_positions")
    if labels is None:  # prediction, or a loss of the user's over rows
        return len(next(iter(batch.values())))
    if isinstance(model, PreTrainedModel):
        return model.count_targets(batch)
    if labels.is_floating_point():
        return int(labels.numel())
    if _shifts(model, labels):
        labels = labels[:, 1:]
    return int((labels != _IGNORED).sum())


def _class_labels(batch: Batch) -> torch.Tensor:
    """The labels [B] or [B, T] with -100 where no token is."""
    labels, mask = batch["labels"], batch.get("attention_mask")
    if not isinstance(labels, torch.Tensor) or labels.is_floating_point():
        raise ValueError(
            f"class_weights: expected a class (a whole number) for each row or token, received labels {labels!r:.80}: "
            "leave class_weights out, or number the classes from 0"
        )
    return labels if mask is None or labels.ndim == 1 else labels.masked_fill(mask == 0, _IGNORED)


def inputs_of(batch: Mapping[str, Any]) -> Batch:
    """What of a batch a model takes: all but `loss_weights`, which are for its loss."""
    return {name: value for name, value in batch.items() if name != LOSS_WEIGHTS}


def _weighed_targets(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The targets, as far as -100 tells them from others, and how much each of them counts."""
    batch = _in_order(model, batch)
    weights, labels = batch[LOSS_WEIGHTS], batch.get("labels")
    if labels is None:
        start, ids = batch["start_positions"], batch.get("input_ids")
        width = batch["packed"].padded_shape[1] if ids is None else ids.shape[1]
        labels = start.flatten().where((start.flatten() >= 0) & (start.flatten() < width), _IGNORED)
    weights = spread(weights, labels.shape)
    if not isinstance(model, PreTrainedModel) and _shifts(model, labels):
        labels, weights = labels[:, 1:], weights[:, 1:]
    if labels.is_floating_point():
        labels = torch.zeros_like(labels, dtype=torch.long)
    return labels, weights


def _in_order(model: nn.Module, batch: Batch) -> Batch:
    """A batch whose weights stand in the order of the model's targets: packed, where a native model packs it."""
    packs = isinstance(model, PreTrainedModel) and "packed" in forward_parameters(model)
    return model.pack_inputs(batch) if packs and "packed" not in batch else batch  # type: ignore[operator]


def model_loss(
    model: nn.Module,
    batch: Batch,
    num_targets: torch.Tensor | None,
    criterion: Criterion | None = None,
    **native: Any,
) -> tuple[torch.Tensor, Any]:
    """The model's own loss of a batch: the sum over its targets divided by `num_targets`.

    Args:
        model: native models divide by themselves; any other returns the mean over its targets.
        batch: a padded batch, or for native models a packed one; targets count as much as its `loss_weights` say.
        num_targets: of the whole optimizer step, 0-d; None: of this batch.
        criterion: how the loss judges classes; None: as the model does.
        native: further arguments of a native model's forward.

    Returns:
        (loss, outputs): 0-d; what the model returned.
    """
    criterion = criterion or _PLAIN
    if isinstance(model, PreTrainedModel):
        batch = _in_order(model, batch) if LOSS_WEIGHTS in batch else batch
        model.criterion = criterion
        try:
            with criterion.weighing(batch.get(LOSS_WEIGHTS)):
                outputs = model(**inputs_of(batch), num_items_in_batch=num_targets, **native)
        finally:
            model.criterion = _PLAIN
        return loss_of(outputs), outputs
    outputs = model(**inputs_of(batch))
    weights = _weighed_targets(model, batch)[1].flatten() if LOSS_WEIGHTS in batch else None
    with criterion.weighing(weights):
        if not criterion.is_plain:
            return mean_loss(_judge(model, batch, outputs, criterion), num_targets), outputs
    loss = loss_of(outputs)
    if num_targets is None:
        return loss, outputs
    count = count_targets(model, batch)
    return (loss * (count / num_targets) if count else nothing(model, outputs)), outputs


def generated(model: nn.Module, batch: Batch, settings: Mapping[str, Any]) -> torch.Tensor:
    """What a model writes for a batch: its targets take no part.

    Args:
        model: a native one, or of `transformers`.
        batch: padded, or for native models packed.
        settings: of `generate`, over those of the model.

    Returns:
        [rows, tokens], as `generate` gives them.
    """
    if isinstance(model, Generates):
        return model.generate(**model.prompts(batch), **settings)
    targets = ("labels", LOSS_WEIGHTS)
    inputs = {name: value for name, value in batch.items() if not name.startswith("decoder_") and name not in targets}
    tokens: torch.Tensor = model.generate(**inputs, **settings)  # type: ignore[operator]
    return tokens


_WEIGHTS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # counting them takes as long as a small step


def count_tokens(batch: Batch, *, name: str, padding: bool, pad: int | None) -> int:
    """Input tokens of a padded batch.

    Args:
        batch: before it is packed.
        name: of the column that holds them, [B, T].
        padding: whether those that fill up rows count too.
        pad: their number, where the batch has no attention mask.

    Raises:
        ValueError: the batch has no such column.
    """
    tokens = batch.get(name)
    if tokens is None:
        raise ValueError(
            f"include_num_input_tokens_seen: expected batches with '{name}', received {sorted(batch)}: set "
            "main_input_name on the model, or include_num_input_tokens_seen='no'"
        )
    if not padding and batch.get("attention_mask") is not None:
        return int(batch["attention_mask"].sum())
    return int(tokens.numel()) if padding or pad is None else int((tokens != pad).sum())


def floating_point_ops(model: nn.Module, batch: Batch) -> int:
    """Operations of forward and backward of a padded batch: 6 x tokens x weights beside the embeddings.

    It is 0 for a model that does not count its weights by `num_parameters`, as those here and in `transformers` do, and
    for a batch without the model's main input.
    """
    tokens = batch.get(getattr(model, "main_input_name", "input_ids"))
    if tokens is None or not callable(getattr(model, "num_parameters", None)):
        return 0
    if model not in _WEIGHTS:
        embeddings = {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
        _WEIGHTS[model] = sum(p.numel() for name, p in model.named_parameters() if name not in embeddings)
    return 6 * int(tokens.numel()) * _WEIGHTS[model]


def _judge(model: nn.Module, batch: Batch, outputs: Any, criterion: Criterion) -> SumAndCount:
    """The loss of another library's model from its scores, (sum, count)."""
    if batch.get("start_positions") is not None:
        scores = (outputs["start_logits"], outputs["end_logits"])
        width = scores[0].shape[1]
        targets = [batch[name].flatten() for name in _SPANS]
        return criterion.span(*scores, *(x.where((x >= 0) & (x < width), _IGNORED) for x in targets))
    labels = batch.get("labels")
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[1]
    if labels is None:
        criterion.refuse("a batch without labels")
        raise ValueError("loss_weights: expected labels beside them, received a batch without: leave them out")
    if labels.is_floating_point():
        numbers = getattr(getattr(model, "config", None), "problem_type", None) == "regression" or labels.ndim == 1
        judge = criterion.squared_error if numbers else criterion.binary_cross_entropy
        return judge(logits.reshape(-1), labels.reshape(-1))
    if _shifts(model, labels):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return criterion.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def _shifts(model: nn.Module, labels: torch.Tensor) -> bool:
    """Whether each label is to be predicted from the tokens before it."""
    return labels.ndim > 1 and type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def forward_parameters(model: nn.Module) -> tuple[str, ...]:
    """The names that a model's forward takes, in their order."""
    return _parameters(type(model).forward)


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def label_names_of(model: nn.Module) -> tuple[str, ...]:
    """The columns that hold a model's labels: arguments of its forward with "label" in their names, or spans."""
    if isinstance(model, PreTrainedModel):
        return model.label_names
    found = tuple(name for name in forward_parameters(model) if "label" in name or name in _SPANS)
    return found or ("labels", *_SPANS)


def nothing(model: nn.Module, outputs: Any = None) -> torch.Tensor:
    """A loss of 0 that gives every trained parameter a gradient of 0: of a batch without a target.

    The mean over no targets is NaN, and NaN times 0 is NaN; ranks exchange gradients of all parameters.

    Args:
        model: any.
        outputs: what it returned; where FSDP2 has dealt it out, the backward pass must go through them.
    """
    if isinstance(model, FSDPModule):
        tensors = [t for t in tree_leaves(predictions_of(outputs, True, ())) if isinstance(t, torch.Tensor)]
        return torch.stack([(t.flatten()[:1] * 0.0).sum() for t in tensors if t.requires_grad]).sum().float()
    return torch.stack([(p.flatten()[:1] * 0.0).sum() for p in model.parameters() if p.requires_grad]).sum().float()


def loss_of(outputs: Any) -> torch.Tensor:
    """The loss among a model's outputs, 0-d.

    Raises:
        ValueError: there is none (says what the model returned).
    """
    if isinstance(outputs, torch.Tensor):
        loss: Any = outputs
    else:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs[0]
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        returned = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
        raise ValueError(
            f"the model returned no loss: expected a scalar 'loss' among its outputs, received {returned}. Give the "
            "data set a label column that its forward takes, or override compute_loss"
        )
    return loss


def predictions_of(outputs: Any, has_loss: bool, ignore_keys: tuple[str, ...]) -> Any:
    """All outputs but the loss and those ignored: one tensor, or a tuple of them."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        values = tuple(outputs[key] for key in outputs if key != "loss" and key not in ignore_keys)
    else:
        values = tuple(outputs[1:] if has_loss else outputs)
    return values[0] if len(values) == 1 else values
