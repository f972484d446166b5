"""Label smoothing and class weights, for every loss over classes.

Dimension letters: B rows, T padded length, R targets, D width, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from lt_trainer import losses
from lt_trainer.losses import IGNORED, SumAndCount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Criterion:
    """How a loss judges classes. Beside each smoothed loss it adds up the plain one, which `take_plain` hands over.

    Args:
        label_smoothing: share of each target that is spread evenly over all classes, 0 to below 1.
        class_weights: of each class; a target counts as much as its class weighs, so the mean is that of torch.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self._plain: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return not self.label_smoothing and self.class_weights is None

    def take_plain(self) -> Tensor | None:
        """The sum of the unsmoothed losses since it was last taken, 0-d; None without smoothing."""
        plain, self._plain = self._plain, None
        return plain

    def weigh(self, labels: Tensor) -> float:
        """What the targets among labels [...] weigh together; -100 is no target."""
        assert self.class_weights is not None
        return float(self.class_weights[labels[labels != IGNORED]].sum())

    def cross_entropy(self, logits_RC: Tensor, labels_R: Tensor) -> SumAndCount:
        """See losses.cross_entropy; the count is the targets' weight where classes have weights."""
        if self.is_plain:
            return losses.cross_entropy(logits_RC, labels_R)
        weights, logits_RC = self._weights_for(logits_RC), logits_RC.float()
        smoothing, reduction = self.label_smoothing, "sum"
        total = F.cross_entropy(logits_RC, labels_R, weights, reduction=reduction, label_smoothing=smoothing)
        self._note(F.cross_entropy(logits_RC.detach(), labels_R, weights, reduction=reduction) if smoothing else None)
        valid_R = labels_R != IGNORED
        return total, valid_R.sum() if weights is None else weights[labels_R[valid_R]].sum()

    def linear_cross_entropy(
        self, hidden_RD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_R: Tensor
    ) -> SumAndCount:
        """See losses.linear_cross_entropy."""
        self.refuse_weights("the words of a vocabulary")
        total, plain, count = losses.linear_cross_entropies(
            hidden_RD, weight_VD, bias_V, labels_R, self.label_smoothing
        )
        self._note(plain if self.label_smoothing else None)
        return total, count

    def span(self, start_BT: Tensor, end_BT: Tensor, start_B: Tensor, end_B: Tensor) -> SumAndCount:
        """See losses.span; a share of each target is spread evenly over the row's tokens."""
        self.refuse_weights("positions")
        total, count = losses.span(start_BT, end_BT, start_B, end_B)
        if not self.label_smoothing:
            return total, count
        self._note(total.detach())
        even = [_even(scores, at) for scores, at in ((start_BT, start_B), (end_BT, end_B))]
        return (1 - self.label_smoothing) * total + self.label_smoothing * (even[0] + even[1]) / 2, count

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


def _even(scores_BT: Tensor, at_B: Tensor) -> Tensor:
    """The sum over rows with a target of the mean of -log p over the positions that hold a token."""
    real_BT = scores_BT > -torch.inf
    log_BT = scores_BT.float().log_softmax(dim=1).masked_fill(~real_BT, 0.0)
    return -(log_BT.sum(dim=1) / real_BT.sum(dim=1))[at_B != IGNORED].sum()
