"""Heads that score the vocabulary: hidden tokens, next tokens. No logits are made that nobody reads.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lt_trainer import losses
from lt_trainer.models.heads import Head, TokenHead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from lt_trainer.packed import PackedBatch


class VocabularyHead(Head):
    """Scores of all tokens of the vocabulary: the loss makes a chunk of them at a time."""

    @property
    def num_classes(self) -> int:
        """The vocabulary."""
        size: int = self.config.vocab_size
        return size

    def get_output_embeddings(self) -> nn.Linear:
        """The projection to the vocabulary."""
        raise NotImplementedError

    def transform(self, x: Tensor) -> Tensor:
        """What comes before the projection, [..., D]."""
        return x

    def scores(self, x: Tensor) -> Tensor:
        """[..., V]."""
        scores: Tensor = self.get_output_embeddings()(self.transform(x))
        return scores

    def loss_at(self, x_RD: Tensor, labels_R: Tensor) -> losses.SumAndCount:
        """The loss at the targets."""
        last = self.get_output_embeddings()
        return self.criterion.linear_cross_entropy(self.transform(x_RD), last.weight, last.bias, labels_R)


class MaskedLM(VocabularyHead, TokenHead):
    """Each hidden token is predicted; only those are projected."""


class CausalLM(VocabularyHead, TokenHead):
    """Each token predicts the next of its row; the first of a row is no target, wherever the row lies in a batch."""

    def targets(self, labels_N: Tensor, packed: PackedBatch) -> Tensor:
        """The label of the row's next token, [N]."""
        next_N = labels_N.roll(-1)
        next_N[torch.tensor(packed.lengths, device=next_N.device).cumsum(0) - 1] = losses.IGNORED
        return next_N

    def count_targets(self, batch: Mapping[str, Any]) -> int:
        """Labels after the first token of each row, and of each text in it."""
        if batch.get("position_ids") is not None:  # they may say that a row holds several texts
            batch = self.pack_inputs(batch)
        count, mask = super().count_targets(batch), batch.get("attention_mask")
        if batch.get("packed") is not None:
            return count
        labels_BT = batch["labels"]
        first_B = torch.zeros(len(labels_BT), dtype=torch.int64) if mask is None else (mask != 0).int().argmax(1)
        return count - int((labels_BT.gather(1, first_B[:, None]) != losses.IGNORED).sum())
