"""What a tokenizer returns: a dictionary of columns that still knows words, characters and sequences."""

from __future__ import annotations

from collections import UserDict
from typing import TYPE_CHECKING, Any, NamedTuple

from lt_trainer.tokenization.tensors import to_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import Enum

    import torch
    from tokenizers import Encoding


class TokenSpan(NamedTuple):
    """Tokens `start` to `end` (exclusive) of a row."""

    start: int
    end: int


class CharSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) of the text that a row was made from."""

    start: int
    end: int


class BatchEncoding(UserDict[Any, Any]):
    """Columns (`input_ids`, `attention_mask`, ...) by key or attribute, and the alignment of tokens with the text.

    Wherever a method takes `(batch_index, index)`, one argument alone is an index in the first row. A negative index
    counts from the end.

    Args:
        data: Columns; each a list of rows (or one row), an array or a tensor.
        encoding: The Rust encodings, one a row; None for data that was not made by a tokenizer.
        tensor_type: "pt", "np" or None (keep lists).
        prepend_batch_axis: Put each column into a batch of one before it becomes a tensor.
        n_sequences: 1 for texts, 2 for pairs; read from `encoding` when None.
        aligned: Whether `encoding` knows words and characters.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encoding: Encoding | list[Encoding] | None = None,
        tensor_type: str | Enum | None = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
        *,
        aligned: bool = True,
    ) -> None:
        super().__init__(data)
        self._aligned = aligned
        self._encodings = [encoding] if encoding is not None and not isinstance(encoding, list) else encoding
        if n_sequences is None and self._encodings:
            n_sequences = self._encodings[0].n_sequences
        self._n_sequences = n_sequences
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    # --- dictionary and attributes --------------------------------------------------------------------------------

    def __getitem__(self, item: str | int | slice) -> Any:
        if isinstance(item, str):
            return self.data[item]
        if self._encodings is not None:
            return self._encodings[item]
        if isinstance(item, slice):
            return {key: value[item] for key, value in self.data.items()}
        raise KeyError(
            f"{item!r}: expected a column name ({', '.join(self.data)}); rows by number are there only where a "
            "tokenizer made the batch: take batch[column][row]"
        )

    def __getattr__(self, name: str) -> Any:
        # copy and pickle ask before __init__ has run: `data` itself must not come back here
        if name != "data" and name in self.data:
            return self.data[name]
        columns = "" if name == "data" else f"; columns: {', '.join(map(str, self.data))}"
        raise AttributeError(f"BatchEncoding has no attribute or column {name!r}{columns}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("data", "_encodings", "_n_sequences", "_aligned")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # --- rows -------------------------------------------------------------------------------------------------------

    @property
    def is_fast(self) -> bool:
        """Whether the alignment with the text is known."""
        return self._encodings is not None and self._aligned

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs, None where unknown."""
        return self._n_sequences

    @property
    def encodings(self) -> list[Encoding] | None:
        """The Rust encodings, one a row (overflowing pieces are rows), or None."""
        return self._encodings

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row as strings."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word (a word of the list with `is_split_into_words`) of each token; None for special tokens and pads."""
        return self._row(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 for tokens of the first text, 1 for those of the second, None for special tokens and pads."""
        return self._row(batch_index).sequence_ids

    # --- one token, word or character --------------------------------------------------------------------------------

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1: the text that a token belongs to."""
        row, index = self._row_and_token(batch_or_token_index, token_index)
        return row.token_to_sequence(index)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token belongs to."""
        row, index = self._row_and_token(batch_or_token_index, token_index)
        found = row.token_to_word(index)
        # tokenizers answers (sequence, word) in some releases and the word in others
        return found[1] if isinstance(found, tuple) else found

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters that a token stands for."""
        row, index = self._row_and_token(batch_or_token_index, token_index)
        found: Any = row.token_to_chars(index)
        if found is None:
            return None
        return CharSpan(*(found[1] if isinstance(found[1], tuple) else found))

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word, or None where it has none (cut off, or made of nothing)."""
        row, index = self._row_and_index(batch_or_word_index, word_index)
        if index < 0:
            index += 1 + max((word for word in row.word_ids if word is not None), default=-1)
        span = row.word_to_tokens(index, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        row, index = self._row_and_index(batch_or_word_index, word_index)
        span = row.word_to_chars(index, sequence_index)
        return None if span is None else CharSpan(*span)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that holds a character, or None (white space, or cut off)."""
        row, index = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_token(index, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that holds a character."""
        row, index = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_word(index, sequence_index)

    # --- tensors ----------------------------------------------------------------------------------------------------

    def convert_to_tensors(
        self, tensor_type: str | Enum | None = None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Turn each column into a tensor ("pt") or an array ("np"), in place.

        Raises:
            ValueError: If a column is ragged or holds text; the message names it.
        """
        if tensor_type is not None:
            for name, value in self.data.items():
                self.data[name] = to_tensor(name, [value] if prepend_batch_axis else value, tensor_type)
        return self

    def to(self, device: str | int | torch.device, *, non_blocking: bool = False) -> BatchEncoding:
        """Move every tensor to a device, in place; lists and arrays stay as they are."""
        import torch

        if not isinstance(device, str | int | torch.device):
            raise TypeError(
                f"device={device!r}: expected a device, such as 'cuda' (a batch is not cast: "
                "its ids must stay integers); cast the model instead"
            )
        for name, value in self.data.items():
            if isinstance(value, torch.Tensor):
                self.data[name] = value.to(device, non_blocking=non_blocking)
        return self

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _row(self, index: int) -> Encoding:
        if not self._encodings:
            raise ValueError(
                "this batch was not made by a tokenizer's call (or has no rows): its words are not known: "
                "ask the batch that tokenizer(text) returned"
            )
        if not self._aligned:
            raise ValueError(
                "this batch was made with return_alignment=False: its words are not known: call the tokenizer without"
            )
        return self._encodings[index]

    def _row_and_index(self, first: int, second: int | None) -> tuple[Encoding, int]:
        return (self._row(0), first) if second is None else (self._row(first), second)

    def _row_and_token(self, first: int, second: int | None) -> tuple[Encoding, int]:
        row, index = self._row_and_index(first, second)
        return row, index + len(row) if index < 0 else index
