"""Label smoothing and weights of classes and of targets, for every loss.

Dimension letters: B rows, T padded length, R targets, D width, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from lt_trainer import losses
from lt_trainer.losses import IGNORED, SumAndCount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


class Criterion:
    """How a loss judges classes. Beside each smoothed loss it adds up the plain one, which `take_plain` hands over.

    Args:
        label_smoothing: share of each target that is spread evenly over all classes, 0 to below 1.
        class_weights: of each class; a target counts as much as its class weighs, so the mean is that of torch.

    Attributes:
        target_weights: of each target of the batch that is being computed; see `weighing`.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.target_weights: Tensor | None = None
        self._plain: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return not self.label_smoothing and self.class_weights is None and self.target_weights is None

    @contextmanager
    def weighing(self, weights: Tensor | None) -> Iterator[None]:
        """Inside, the losses are sums in which each target counts as much as it weighs.

        Args:
            weights: of the targets, in their order; None: all 1.
        """
        self.target_weights = weights
        try:
            yield
        finally:
            self.target_weights = None

    def take_plain(self) -> Tensor | None:
        """The sum of the unsmoothed losses since it was last taken, 0-d; None without smoothing."""
        plain, self._plain = self._plain, None
        return plain

    def weigh(self, labels: Tensor, weights: Tensor | None = None) -> float:
        """What the targets among labels [...] weigh together; -100 is no target; `weights` are those of the targets."""
        valid = labels != IGNORED
        whole = valid.float() if weights is None else weights.float() * valid
        if self.class_weights is not None:
            whole = whole * self.class_weights[labels.where(valid, 0)]
        return float(whole.sum())

    def cross_entropy(self, logits_RC: Tensor, labels_R: Tensor) -> SumAndCount:
        """See losses.cross_entropy; the count is the targets' weight where classes or targets have weights."""
        if self.is_plain:
            return losses.cross_entropy(logits_RC, labels_R)
        weights, logits_RC, smoothing = self._weights_for(logits_RC), logits_RC.float(), self.label_smoothing
        each_R = F.cross_entropy(logits_RC, labels_R, weights, reduction="none", label_smoothing=smoothing)
        if smoothing:
            self._note(self._sum(F.cross_entropy(logits_RC.detach(), labels_R, weights, reduction="none")))
        valid_R = labels_R != IGNORED
        count_R = valid_R if weights is None else weights[labels_R.where(valid_R, 0)] * valid_R
        return self._sum(each_R), self._sum(count_R)

    def linear_cross_entropy(
        self, hidden_RD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_R: Tensor
    ) -> SumAndCount:
        """See losses.linear_cross_entropy."""
        self.refuse_weights("the words of a vocabulary")
        total, plain, count = losses.linear_cross_entropies(
            hidden_RD, weight_VD, bias_V, labels_R, self.label_smoothing, weights_R=self.target_weights
        )
        self._note(plain if self.label_smoothing else None)
        return total, count

    def span(self, start_BT: Tensor, end_BT: Tensor, start_B: Tensor, end_B: Tensor) -> SumAndCount:
        """See losses.span; a share of each target is spread evenly over the row's tokens."""
        self.refuse_weights("positions")
        if self.is_plain:
            return losses.span(start_BT, end_BT, start_B, end_B)
        sides = ((start_BT.float(), start_B), (end_BT.float(), end_B))
        each_B = sum(F.cross_entropy(scores, at, reduction="none", ignore_index=IGNORED) for scores, at in sides)
        total = self._sum(torch.as_tensor(each_B)) / 2
        count = sum((self._sum(at != IGNORED) for _, at in sides), torch.zeros((), device=start_B.device)) / 2
        if not self.label_smoothing:
            return total, count
        self._note(total.detach())
        even = self._sum(_even(*sides[0]) + _even(*sides[1])) / 2
        return (1 - self.label_smoothing) * total + self.label_smoothing * even, count

    def squared_error(self, outputs: Tensor, targets: Tensor) -> SumAndCount:
        """See losses.squared_error; a row's weight is that of each of its numbers."""
        self.refuse("a regression")
        if self.target_weights is None:
            return losses.squared_error(outputs, targets)
        return self._elements(F.mse_loss(outputs.float(), targets.float(), reduction="none"))

    def binary_cross_entropy(self, logits: Tensor, targets: Tensor) -> SumAndCount:
        """See losses.binary_cross_entropy; a row's weight is that of each of its labels."""
        self.refuse("a row with several labels")
        if self.target_weights is None:
            return losses.binary_cross_entropy(logits, targets)
        each = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
        return self._elements(each)

    def _elements(self, each: Tensor) -> SumAndCount:
        assert self.target_weights is not None
        weights = spread(self.target_weights.to(each.device), each.shape)
        return (each * weights).sum(), weights.sum()

    def _sum(self, each_R: Tensor) -> Tensor:
        """The sum over the targets, each counting as much as it weighs."""
        if self.target_weights is None:
            return each_R.sum()
        return (each_R * self.target_weights.to(each_R.device)).sum()

    def refuse(self, what: str) -> None:
        """Raises where a loss without classes is to be smoothed or weighed.

        Raises:
            ValueError: `what` has no classes.
        """
        self.refuse_weights(what)
        if self.label_smoothing:
            raise ValueError(f"label_smoothing_factor={self.label_smoothing}: {what} has no classes; set it to 0")

    def refuse_weights(self, what: str) -> None:
        """Raises where `what` cannot be weighed.

        Raises:
            ValueError: there are class weights.
        """
        if self.class_weights is not None:
            raise ValueError(
                f"class_weights={self.class_weights.tolist()}: expected a loss over the classes of rows or tokens, "
                f"received one over {what}; leave class_weights out"
            )

    def _weights_for(self, logits_RC: Tensor) -> Tensor | None:
        if self.class_weights is None:
            return None
        if len(self.class_weights) != logits_RC.shape[1]:
            raise ValueError(
                f"class_weights={self.class_weights.tolist()}: expected one a class, {logits_RC.shape[1]}, received "
                f"{len(self.class_weights)}: change them, or num_labels of the model"
            )
        return self.class_weights.to(logits_RC.device)

    def _note(self, plain: Tensor | None) -> None:
        if plain is not None:
            self._plain = plain if self._plain is None else self._plain + plain


class LabelSmoother:
    """Smoothes a loss from the outputs of a model, for an override of `compute_loss` that asks for it.

    Args:
        epsilon: share of each target that is spread evenly over all classes.
        ignore_index: the label that is no target.
    """

    def __init__(self, epsilon: float = 0.1, ignore_index: int = IGNORED) -> None:
        self.epsilon, self.ignore_index = epsilon, ignore_index

    def __call__(
        self, model_output: Any, labels: Tensor, shift_labels: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The smoothed loss over `num_items_in_batch` targets, or over those of this batch, 0-d.

        Args:
            model_output: with `logits` [..., C], or a tuple that begins with them.
            labels: [...] classes.
            shift_labels: each token predicts the next of its row.
            num_items_in_batch: targets of the whole optimizer step; None: of this batch.
        """
        logits = model_output["logits"] if isinstance(model_output, Mapping) else model_output[0]
        if shift_labels:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        flat = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        return losses.mean_loss(losses.cross_entropy(*flat, self.epsilon, self.ignore_index), num_items_in_batch)


def spread(weights: Tensor, shape: Sequence[int]) -> Tensor:
    """Weights of rows or of single labels, as one for each label, in float32.

    Raises:
        ValueError: weights of another shape.
    """
    if weights.ndim == 1 < len(shape) and len(weights) == shape[0]:
        weights = weights.view(-1, *[1] * (len(shape) - 1))
    elif tuple(weights.shape) != tuple(shape):
        raise ValueError(
            f"loss_weights: expected one a row or one a label, {tuple(shape)[:1]} or {tuple(shape)}, received "
            f"{tuple(weights.shape)}: give each row a number, or a list as long as its labels"
        )
    return weights.float().expand(*shape)


def _even(scores_BT: Tensor, at_B: Tensor) -> Tensor:
    """Of each row with a target the mean of -log p over the positions that hold a token, [B]; 0 for others."""
    real_BT = scores_BT > -torch.inf
    log_BT = scores_BT.float().log_softmax(dim=1).masked_fill(~real_BT, 0.0)
    return -(log_BT.sum(dim=1) / real_BT.sum(dim=1)) * (at_B != IGNORED)
