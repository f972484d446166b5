"""One call of a tokenizer, resolved: what goes to the Rust library and which columns come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enum import Enum

    from tokenizers import Encoding

    from lt_trainer.tokenization.limits import Limits


@dataclass(frozen=True)
class Request:
    """The arguments of `Encoder.__call__` with nothing left to decide."""

    limits: Limits
    add_special_tokens: bool = True
    is_split_into_words: bool = False
    stride: int = 0
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    truncation_side: str = "right"
    split_special_tokens: bool = False
    token_type_ids: bool = False
    attention_mask: bool = True
    overflowing: bool = False
    special_tokens_mask: bool = False
    offsets: bool = False
    length: bool = False
    alignment: bool = True
    tensors: str | Enum | None = None
    verbose: bool = True

    def check_room(self, num_special_tokens: int) -> None:
        """Refuse what the Rust library would ignore in silence (a maximum that is too short) or panic about (a stride).

        Raises:
            ValueError: If `max_length` has no room for special tokens, or `stride` none for new ones.
        """
        if self.padding_side not in ("right", "left"):
            raise ValueError(
                f"padding_side={self.padding_side!r}: expected 'right' or 'left': leave it out for the tokenizer's own"
            )
        if not self.limits.truncates or self.limits.max_length is None:
            return
        room = self.limits.max_length - num_special_tokens
        if room < 0:
            raise ValueError(
                f"max_length={self.limits.max_length} is shorter than the {num_special_tokens} special tokens of each "
                "row: raise it, or pass add_special_tokens=False"
            )
        if self.stride and not 0 <= self.stride < room:
            raise ValueError(
                f"stride={self.stride} with max_length={self.limits.max_length}: expected 0 to {max(room - 1, 0)}, "
                f"since {num_special_tokens} of a row's tokens are special and each piece must bring a new one"
            )


def make_columns(encodings: list[Encoding], request: Request) -> tuple[dict[str, list[Any]], list[Encoding]]:
    """Read columns out of encodings, overflowing pieces as rows of their own.

    Args:
        encodings: One a row.
        request: Which columns.

    Returns:
        Columns in the order of `transformers`, and the encodings in the order of the rows.
    """
    samples: list[int] = []
    if request.overflowing:
        groups = [[row, *row.overflowing] for row in encodings]
        samples = [index for index, group in enumerate(groups) for _ in group]
        encodings = [piece for group in groups for piece in group]
    ids = [row.ids for row in encodings]
    columns: dict[str, list[Any]] = {"input_ids": ids}
    if request.token_type_ids:
        columns["token_type_ids"] = [row.type_ids for row in encodings]
    if request.attention_mask:
        # without padding every token is real; a list of ones is made faster than one is read
        padded = request.limits.pads
        columns["attention_mask"] = [row.attention_mask for row in encodings] if padded else [[1] * len(x) for x in ids]
    if request.special_tokens_mask:
        columns["special_tokens_mask"] = [row.special_tokens_mask for row in encodings]
    if request.offsets:
        columns["offset_mapping"] = [row.offsets for row in encodings]
    if request.length:
        columns["length"] = [len(row) for row in ids]
    if request.overflowing:
        columns["overflow_to_sample_mapping"] = samples
    return columns, encodings
