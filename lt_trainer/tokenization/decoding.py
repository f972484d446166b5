"""Ids to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lt_trainer.tokenization.padding import Padder
from lt_trainer.tokenization.tensors import as_lists

# Spaces that wordpiece tokens leave before punctuation and English contractions.
_TIDY = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class Decoder(Padder):
    """Reading ids."""

    clean_up_tokenization_spaces: bool

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text of a row of ids, or the texts of a batch of rows.

        Args:
            token_ids: An id, a row or a batch of rows, as lists, arrays or tensors.
            skip_special_tokens: Whether to leave special tokens out.
            clean_up_tokenization_spaces: Remove spaces before punctuation; the tokenizer's own setting when None.
                Never done for BPE, whose tokens carry their own spaces.

        Raises:
            ValueError: For an id below 0, such as the label -100.
        """
        if isinstance(token_ids, Mapping):
            token_ids = token_ids["input_ids"]
        token_ids = as_lists(token_ids)
        rows: list[Any] = [token_ids] if isinstance(token_ids, int) else [as_lists(row) for row in token_ids]
        tidy = clean_up_tokenization_spaces
        tidy = (self.clean_up_tokenization_spaces if tidy is None else tidy) and type(
            self._tokenizer.model
        ).__name__ != "BPE"
        if rows and isinstance(rows[0], list | tuple):
            return [self._decode_row(row, skip_special_tokens, tidy) for row in rows]
        return self._decode_row(rows, skip_special_tokens, tidy)

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of a batch of rows; see `decode`."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def _decode_row(self, ids: list[int], skip_special_tokens: bool, tidy: bool) -> str:
        try:
            text = self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        except (OverflowError, TypeError) as error:
            place, bad = next(((i, x) for i, x in enumerate(ids) if not isinstance(x, int) or x < 0), (0, ids))
            raise ValueError(
                f"token_ids[{place}]={bad!r}: ids are integers from 0; "
                "put tokenizer.pad_token_id where labels hold -100 before decoding"
            ) from error
        return clean_up_tokenization(text) if tidy else text


def clean_up_tokenization(text: str) -> str:
    """Remove the spaces that joining wordpiece tokens leaves: "do n't ." -> "don't."."""
    for spaced in _TIDY:
        text = text.replace(spaced, spaced.strip(" "))
    return text
