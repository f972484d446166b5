"""Masked language modelling: hidden tokens (or words) of a text, from what stands on both sides of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_trainer.data.collators import DataCollatorForTokenClassification
from lt_trainer.data.masked_rows import MaskedRows
from lt_trainer.data.masking import Masking, word_starts
from lt_trainer.data.texts import cut
from lt_trainer.data.tokenized import tokens_alone
from lt_trainer.models.auto import AutoModelForMaskedLM
from lt_trainer.objective import inputs_of
from lt_trainer.tasks.language import LanguageData, LanguageTask
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import nn

    from lt_trainer.data.tokenized import Columns
    from lt_trainer.data.windows import Batch, Collate, Row


class MaskedLM(LanguageTask):
    """Predicts hidden tokens; logs the perplexity of them beside the loss, whose logits are made for them alone.

    Args:
        model: a name or folder for `AutoModelForMaskedLM`, "scratch" for a small BERT with fresh weights, or a model.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        settings: the tokenizer and the optimizer, see TextTask.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        vocab_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(model, AutoModelForMaskedLM, vocab_size=vocab_size),
            **settings,
        )
        self.hooks.predict = self.guess

    def guess(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The likeliest token at each place, [B, T]; the logits of a batch are made for it and not kept."""
        inputs = {name: value for name, value in inputs_of(batch).items() if name != "labels"}
        if "packed" in inputs:  # of which only the targets would be read
            inputs["packed"] = replace(inputs["packed"], read=None)
        guesses: torch.Tensor = model(**inputs)["logits"].argmax(-1)
        return guesses

    def records(self, predictions: np.ndarray[Any, Any], rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """`text` of each row with its masks filled in, and the `tokens` that fill them.

        Args:
            predictions: as `guess` returns them, [B, T].
            rows: tokenized.
        """
        tokenizer = self.tokenizer
        for row, guessed in zip(rows or (), predictions.tolist(), strict=False):
            ids = row["input_ids"]
            filled = [g if i == tokenizer.mask_token_id else i for i, g in zip(ids, guessed, strict=False)]
            tokens = [g for i, g in zip(ids, guessed, strict=False) if i == tokenizer.mask_token_id]
            text = tokenizer.decode(filled, skip_special_tokens=True)
            yield {"text": text, "tokens": tokenizer.convert_ids_to_tokens(tokens)}


class MaskedLMData(LanguageData):
    """Texts, in rows of at most `max_length` tokens; a longer text is cut into pieces.

    Masks are drawn anew in each epoch, by the seed, the epoch and the row alone; those of evaluation stay the same. A
    row to measure or predict that holds mask tokens itself is left as it is, to be filled in.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        max_length: most tokens of a row, special tokens included; None: what the tokenizer says, but 512 at most.
        mlm_probability: share of the tokens (or words) that are guessed.
        mask_replace_prob: share of those that become the mask token.
        random_replace_prob: share of those that become any token; the rest stays as it is.
        whole_word_mask: hides all tokens of a word, and not some.
        settings: rows, batches and cache, see LanguageData; `seed` is that of the masks too.
    """

    task = "masked-lm"

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        whole_word_mask: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        self.shares = (mlm_probability, mask_replace_prob, random_replace_prob)
        self.whole_word_mask, self._max_length = whole_word_mask, max_length
        if not all(0 <= share <= 1 for share in self.shares) or mask_replace_prob + random_replace_prob > 1:
            raise ValueError(
                f"mlm_probability, mask_replace_prob, random_replace_prob = {self.shares}: expected shares from 0 to "
                "1, the last two together 1 at most"
            )

    @property
    def max_length(self) -> int:
        """Most tokens of a row."""
        return self._max_length or min(self.tokenizer.model_max_length, 512)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text."""
        return (self.text_column,)

    @property
    def masking(self) -> Masking:
        """What is hidden.

        Raises:
            ValueError: a tokenizer without a mask token.
        """
        if self.tokenizer.mask_token_id is None:
            raise ValueError(
                "masked-lm: expected a tokenizer with a mask token, received one without: take the tokenizer of a "
                "model that was trained with masks, such as BERT's, or the task causal-lm"
            )
        return Masking(*self.shares, self.tokenizer.mask_token_id, len(self.tokenizer))

    def parameters(self) -> dict[str, Any]:
        """The column, the length, and whether words are told apart."""
        return {"column": self.text_column, "max_length": self.max_length, "words": self.whole_word_mask}

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Pieces of texts between special tokens, and where their words begin."""
        tokenizer, words = self.tokenizer, self.whole_word_mask
        encoded = tokenizer(
            columns[self.text_column],
            add_special_tokens=False,
            return_offsets_mapping=words,
            verbose=False,
            **tokens_alone(tokenizer),
        )
        room = self.max_length - tokenizer.num_special_tokens_to_add()
        if room < 1:
            raise ValueError(
                f"max_length={self.max_length}: expected room for a token beside the "
                f"{tokenizer.num_special_tokens_to_add()} special ones of a row: raise it"
            )
        made: dict[str, list[Any]] = {"input_ids": [], "special_tokens_mask": []}
        for number, ids in enumerate(encoded["input_ids"]):
            for piece in cut(ids, room):
                made["input_ids"].append(tokenizer.build_inputs_with_special_tokens(piece))
                made["special_tokens_mask"].append(tokenizer.get_special_tokens_mask(piece))
            if words:
                offsets = np.array(encoded["offset_mapping"][number], dtype=np.int64).reshape(-1, 2)
                starts = word_starts(offsets, np.zeros(len(ids), dtype=bool)).astype(int).tolist()
                made.setdefault("word_starts", []).extend(self._placed(piece) for piece in cut(starts, room))
        return made, 0

    def _placed(self, starts: list[int]) -> list[int]:
        """Marks of a piece's tokens with 0 for the special tokens around them; a cut word begins anew."""
        special = np.array(self.tokenizer.get_special_tokens_mask(starts))
        placed = np.zeros(len(special), dtype=int)
        placed[special == 0] = [1, *starts[1:]]
        return [int(mark) for mark in placed]

    def encoded(self, rows: Any, split: str) -> Any:
        """See TaskData; masked when they are read."""
        masking, made = self.masking, super().encoded(rows, split)
        if not hasattr(made, "__len__"):
            raise TypeError(
                "masked-lm: expected rows with a length, received an iterable data set: masks go by the number of a "
                "row; take DataCollatorForLanguageModeling for a stream"
            )
        return MaskedRows(made, masking, seed=self.seed, fixed=split != "train")

    @property
    def pads(self) -> Collate:
        """Pads ids and labels; the model packs them again."""
        return DataCollatorForTokenClassification(self.tokenizer)
