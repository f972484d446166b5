"""Tokenized texts whose masks are drawn when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lt_trainer.data.draws import epoch_seed
from lt_trainer.data.masking import IGNORED_LABEL, Masking, NumpyDraws
from lt_trainer.data.order import mix
from lt_trainer.data.windows import fetch
from lt_trainer.losses import LOSS_WEIGHTS

if TYPE_CHECKING:
    from lt_trainer.data.windows import Row


class MaskedRows(torch.utils.data.Dataset[Any]):
    """Rows of token ids as a masked language model reads them.

    What is masked in a row follows from the seed, the epoch and the row's number alone: it does not depend on the size
    of a batch, on the number of processes or workers, or on whether a run was resumed.

    Args:
        rows: with `input_ids`, `special_tokens_mask`, and `word_starts` where whole words are masked.
        masking: how much, and what stands there.
        seed: of the masks.
        fixed: the same masks in every epoch, for evaluation; a row that holds mask tokens already is then left alone.
    """

    def __init__(self, rows: Any, masking: Masking, *, seed: int, fixed: bool) -> None:
        self.rows, self.masking, self.seed, self.fixed = rows, masking, seed, fixed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        return self.__getitems__([range(len(self))[number]])[0]

    def __getitems__(self, numbers: list[int]) -> list[Row]:
        """Several rows by one read; torch's protocol."""
        epoch = 0 if self.fixed else epoch_seed() or 0
        rows = fetch(self.rows, numbers)
        return [self._masked(row, mix(self.seed, epoch, number)) for number, row in zip(numbers, rows, strict=True)]

    def _masked(self, row: Row, seed: int) -> Row:
        ids = np.asarray(row["input_ids"], dtype=np.int64)
        special = np.asarray(row["special_tokens_mask"]).astype(bool)
        weights = {LOSS_WEIGHTS: row[LOSS_WEIGHTS]} if LOSS_WEIGHTS in row else {}
        if self.fixed and (ids == self.masking.mask_id).any():
            return {"input_ids": ids.tolist(), "labels": [IGNORED_LABEL] * len(ids), **weights}
        starts = np.asarray(row["word_starts"]).astype(bool) if "word_starts" in row else None
        inputs, labels = self.masking.apply(ids, special, NumpyDraws(np.random.default_rng(seed)), starts)
        return {"input_ids": inputs.tolist(), "labels": labels.tolist(), **weights}
