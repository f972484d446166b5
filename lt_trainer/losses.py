"""Losses as (sum, count) of a batch's targets: whoever knows all targets of an optimizer step divides once.

Sums are taken in float32 whatever the logits' type. Dimension letters: B rows, T padded length, R targets, D width,
V vocabulary, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

SumAndCount: TypeAlias = "tuple[Tensor, Tensor]"
IGNORED = -100
LOSS_WEIGHTS = "loss_weights"
"""The column of a batch that says how much each target counts: [B] for the targets of a row, or one beside a label."""
CHUNK_ROWS = 512


def mean_loss(part: SumAndCount, num_items: Tensor | int | None = None) -> Tensor:
    """The mean loss of a target, 0-d.

    Args:
        part: (sum, count) of a batch, both 0-d.
        num_items: targets of the whole optimizer step, a number or 0-d; None = the batch's own count.
    """
    total, count = part
    return total / (count if num_items is None else num_items)


def cross_entropy(
    logits_RC: Tensor, labels_R: Tensor, label_smoothing: float = 0.0, ignore_index: int = IGNORED
) -> SumAndCount:
    """Cross entropy over the targets that are not `ignore_index`.

    Args:
        logits_RC: scores.
        labels_R: int64 class of each row.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.
        ignore_index: the label of a row that is no target.
    """
    total = F.cross_entropy(
        logits_RC.float(), labels_R, ignore_index=ignore_index, reduction="sum", label_smoothing=label_smoothing
    )
    return total, (labels_R != ignore_index).sum()


def squared_error(outputs: Tensor, targets: Tensor) -> SumAndCount:
    """Squared error over all elements; both of one shape."""
    return F.mse_loss(outputs.float(), targets.float(), reduction="sum"), _number_of(targets)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> SumAndCount:
    """Cross entropy of independent yes-or-no classes, over all elements; both of one shape, targets 0 to 1."""
    total = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="sum")
    return total, _number_of(targets)


def span(start_BT: Tensor, end_BT: Tensor, start_B: Tensor, end_B: Tensor) -> SumAndCount:
    """The mean of two cross entropies over positions, for a span's start and its end.

    Args:
        start_BT: scores of each position as the start, -inf where no token is.
        end_BT: likewise for the end.
        start_B: int64 position, or IGNORED where the span is outside the row.
        end_B: likewise.
    """
    start_total, start_count = cross_entropy(start_BT, start_B)
    end_total, end_count = cross_entropy(end_BT, end_B)
    return (start_total + end_total) / 2, (start_count + end_count) / 2


def linear_cross_entropy(
    hidden_RD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    labels_R: Tensor,
    label_smoothing: float = 0.0,
    chunk_rows: int = CHUNK_ROWS,
) -> SumAndCount:
    """`cross_entropy(hidden @ weight.T + bias, labels)` that never holds more than `chunk_rows` rows of logits.

    The gradients are made beside the loss, chunk by chunk, so nothing is computed twice; memory is one chunk of logits
    and the gradients themselves, in place of three copies of all logits.

    Args:
        hidden_RD: what the projection is applied to.
        weight_VD: the projection.
        bias_V: added to the logits, or None.
        labels_R: int64, IGNORED where a row is no target.
        label_smoothing: share of the target that is spread evenly over the vocabulary, 0 to 1.
        chunk_rows: rows of logits at a time.
    """
    total, _, count = linear_cross_entropies(hidden_RD, weight_VD, bias_V, labels_R, label_smoothing, chunk_rows)
    return total, count


def linear_cross_entropies(
    hidden_RD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    labels_R: Tensor,
    label_smoothing: float = 0.0,
    chunk_rows: int = CHUNK_ROWS,
    weights_R: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`linear_cross_entropy` as (sum, sum without smoothing, which has no gradient, count); `weights_R` of targets."""
    valid_R = labels_R != IGNORED
    counted_R = valid_R.float() if weights_R is None else weights_R.float() * valid_R
    total, plain = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_RD, weight_VD, bias_V, labels_R, label_smoothing, chunk_rows, counted_R
    )
    return total, plain, (valid_R if weights_R is None else counted_R).sum()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        chunk_rows: int,
        counted: Tensor,
    ) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        inputs = (hidden, weight, bias)
        grads = [
            torch.zeros_like(x) if x is not None and needed else None
            for x, needed in zip(inputs, ctx.needs_input_grad, strict=False)
        ]
        totals = hidden.new_zeros(2, dtype=torch.float32)
        weight, bias = weight.to(kind), None if bias is None else bias.to(kind)
        rows_at_once = min(chunk_rows, hidden.shape[0])
        logits = weight.new_empty(rows_at_once, weight.shape[0])  # one for all chunks: fresh memory is slow
        with torch.autocast(device, enabled=False):
            for start in range(0, hidden.shape[0], chunk_rows):
                rows = slice(start, start + chunk_rows)
                x = hidden[rows].to(kind)
                _project(x, weight, bias, logits[: len(x)])
                targets = labels[rows], counted[rows]
                part, slope = _chunk(logits[: len(x)].float(), *targets, smoothing, any(ctx.needs_input_grad))
                totals += part
                _accumulate(grads, rows, x, weight, slope)
        ctx.save_for_backward(*grads)
        total, plain = totals[0].clone(), totals[1].clone()
        ctx.mark_non_differentiable(plain)
        return total, plain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_plain: Tensor) -> tuple[Tensor | None, ...]:
        grads = [None if g is None else g.mul_(grad.to(g.dtype)) for g in ctx.saved_tensors]
        return (*grads, None, None, None, None)


def _project(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight.T, out=out)
    else:
        torch.addmm(bias, x, weight.T, out=out)


def _chunk(
    logits: Tensor, labels: Tensor, counted: Tensor, smoothing: float, with_slope: bool
) -> tuple[Tensor, Tensor | None]:
    """The loss of a chunk, smoothed and plain, [2], and its derivative by the logits, written over them.

    With q the smoothed target, loss = logsumexp(z) - q.z, so d loss / d z = softmax(z) - q; each target times what it
    counts, 0 for what is none.
    """
    classes = logits.shape[1]
    valid = labels != IGNORED
    at = labels.where(valid, 0)[:, None]
    own = logits.gather(1, at)
    expected = (1 - smoothing) * own + smoothing * logits.mean(dim=1, keepdim=True) if smoothing else own
    top = logits.amax(dim=1, keepdim=True)
    exponential = logits.sub_(top).exp_()  # in place, where logsumexp would fill as much memory again
    norm = exponential.sum(dim=1, keepdim=True)
    log_norm = top + norm.log()
    counted = counted[:, None]
    total = ((log_norm - torch.cat([expected, own], dim=1)) * counted).sum(dim=0)
    if not with_slope:
        return total, None
    slope = exponential.mul_(counted / norm)
    if smoothing:
        slope -= counted * (smoothing / classes)
    return total, slope.scatter_add_(1, at, (smoothing - 1) * counted)


def _accumulate(grads: list[Tensor | None], rows: slice, x: Tensor, weight: Tensor, slope: Tensor | None) -> None:
    """Adds a chunk's part to the gradients of (hidden, weight, bias) that are wanted."""
    if slope is None:
        return
    grad_hidden, grad_weight, grad_bias = grads
    if grad_bias is not None:
        grad_bias += slope.sum(dim=0)
    slope = slope.to(x.dtype)
    if grad_hidden is not None:
        grad_hidden[rows] = slope @ weight
    if grad_weight is not None and grad_weight.dtype == x.dtype:
        grad_weight.addmm_(slope.T, x)  # without a copy as large as the projection
    elif grad_weight is not None:
        grad_weight += slope.T @ x


def _number_of(targets: Tensor) -> Tensor:
    return torch.tensor(targets.numel(), device=targets.device)
