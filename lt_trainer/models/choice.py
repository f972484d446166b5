"""One of several texts for a row, and whether a text follows another: heads beside those of the six tasks.

Dimension letters: B rows, C choices of a row, T padded length, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lt_trainer import losses
from lt_trainer.models.checks import check_labels
from lt_trainer.models.heads import Head, Output, SequenceClassification, as_asked
from lt_trainer.models.outputs import ModelOutput

if TYPE_CHECKING:
    from torch import Tensor


class MultipleChoice(Head):
    """A score for each of a row's texts, read at its first token; the best is the answer."""

    def forward(  # type: ignore[override]  # a row is several texts: it is packed here
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        num_items_in_batch: Tensor | int | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Scores texts.

        Args:
            input_ids: [B, C, T].
            attention_mask: [B, C, T], non-zero = real token.
            token_type_ids: [B, C, T] int64, which text of a pair a token is of; None = all 0.
            position_ids: [B, C, T] int64; None = as the family counts.
            labels: [B] int64, which of the texts it is; -100 = no target.
            num_items_in_batch: targets of the whole optimizer step; None = of this batch.
            return_dict: False returns a tuple.

        Returns:
            `loss` (with labels), `logits` [B, C].

        Raises:
            ValueError: ids of another shape, or a label beyond the texts (with its row).
        """
        if input_ids.ndim != 3:
            raise ValueError(
                f"input_ids: expected the shape (rows, choices, length), received {tuple(input_ids.shape)}: "
                "stack the texts of a row"
            )
        choices = input_ids.shape[1]
        if labels is not None:
            check_labels(labels, choices)
        given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids, "position_ids": position_ids}
        rows = {name: None if x is None else x.flatten(0, 1) for name, x in {"input_ids": input_ids, **given}.items()}
        packed = self.pack_inputs(rows)["packed"]
        logits_BC = self.scores(self.base_model.encode(packed, packed.first())).view(-1, choices)
        loss = None
        if labels is not None:
            loss = losses.mean_loss(self.criterion.cross_entropy(logits_BC, labels.flatten()), num_items_in_batch)
        return as_asked(ModelOutput({"loss": loss, "logits": logits_BC}), return_dict)


class NextSentence(SequenceClassification):
    """Two classes of a pair: 0, the second text follows the first; 1, it is from elsewhere."""

    @property
    def row_classes(self) -> int:
        """Two, whatever the configuration's labels are."""
        return 2

    def _problem_type(self, labels: Tensor) -> str:
        return "single_label_classification"
