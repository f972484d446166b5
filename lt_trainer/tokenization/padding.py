"""Rows of different lengths to a rectangle: the collators' inner loop, so without a Python loop over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_trainer.tokenization.batch import BatchEncoding
from lt_trainer.tokenization.encoding import Encoder
from lt_trainer.tokenization.inputs import shown
from lt_trainer.tokenization.tensors import as_lists

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum

    from numpy.typing import NDArray

    from lt_trainer.tokenization.limits import Limits


class Padder(Encoder):
    """Padding rows that are ids already."""

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str | Enum = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | Enum | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad the columns that go with `input_ids`; other columns pass through, and must fit a tensor if one is asked.

        Args:
            encoded_inputs: A list of rows (mappings), or a mapping of columns, or one row as a mapping. Values are
                lists, arrays or tensors.
            padding: True or "longest", "max_length", False or "do_not_pad".
            max_length: In tokens, for "max_length"; the model's maximum when None. Longer rows are not cut.
            pad_to_multiple_of: Round lengths up to a multiple of this.
            padding_side: "right" or "left"; the tokenizer's own when None.
            return_attention_mask: Whether to add the mask (1 = real token) where it is missing; None goes by
                `model_input_names`.
            return_tensors: "pt", "np", or None: what the rows are (lists, arrays or tensors).
            verbose: Whether to warn.

        Returns:
            The columns in the order of the first row: `[B, T]`.

        Raises:
            ValueError: If `input_ids` is missing, or rows have different keys.
        """
        main = self.model_input_names[0]
        columns = _columns(encoded_inputs, main)
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in self.model_input_names
        if columns[main] is None or len(columns[main]) == 0:
            return BatchEncoding({**columns, **({"attention_mask": []} if return_attention_mask else {})})
        side = self._side(padding_side)
        found = _kind(columns[main])
        kind = found if return_tensors is None else return_tensors
        is_batch = _is_nested(columns[main])
        if not is_batch:
            columns = {name: [value] for name, value in columns.items()}
        limits = self._limits(padding, None, max_length, None, verbose)
        if return_attention_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in columns[main]]
        padded = self._pad_columns(columns, limits, pad_to_multiple_of, side, arrays=kind is not None)
        if not is_batch:
            padded = {name: value[0] for name, value in padded.items()}
        return BatchEncoding(padded, tensor_type=kind)

    def _side(self, padding_side: str | None) -> str:
        side = self.padding_side if padding_side is None else padding_side
        if side not in ("right", "left"):
            raise ValueError(f"padding_side={side!r}: expected 'right' or 'left': leave it out for the tokenizer's own")
        return side

    def _pad_columns(
        self, columns: dict[str, Any], limits: Limits, multiple: int | None, side: str, arrays: bool
    ) -> dict[str, Any]:
        main = self.model_input_names[0]
        lengths = np.fromiter(map(len, columns[main]), dtype=np.int64, count=len(columns[main]))
        total = _total(lengths, limits, multiple)
        if total is None:
            return columns
        fills = {main: self.pad_token_id, "attention_mask": 0, "token_type_ids": self.pad_token_type_id}
        fills["special_tokens_mask"] = 1
        out = {}
        for name, rows in columns.items():
            fill = fills.get(name)
            if fill is None or (name == "attention_mask" and getattr(rows[0], "ndim", 1) > 1):
                out[name] = rows
            elif arrays and lengths.max() <= total:
                out[name] = pad_to_array(name, rows, lengths, total, fill, side)
            else:
                out[name] = [pad_list(row, total, fill, side) for row in rows]
        return out


def pad_to_array(
    name: str, rows: Sequence[Any], lengths: NDArray[np.int64], total: int, fill: int, side: str
) -> NDArray[np.int64]:
    """Rows to one array of int64.

    Args:
        name: The column, for messages.
        rows: `B` lists, arrays or tensors of integers.
        lengths: Their lengths, `[B]`.
        total: `T`, at least the longest.
        fill: What stands in the pads.
        side: "right" or "left".

    Returns:
        `[B, T]`.

    Raises:
        ValueError: If a row's length differs from `lengths`.
    """
    for index, row in enumerate(rows):
        if len(row) != lengths[index]:
            raise ValueError(
                f"row {index}: {name!r} has {len(row)} entries, but the row has {lengths[index]} tokens: "
                "expected as many; make the column again, or remove it"
            )
    if isinstance(rows[0], list | tuple):
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
    else:
        flat = np.concatenate([np.asarray(row) for row in rows])
    out = np.full((len(lengths), total), fill, dtype=np.int64)
    place_T = np.arange(total)
    if side == "right":
        out[place_T < lengths[:, None]] = flat  # row-major, so each row receives its own entries
    else:
        out[place_T >= total - lengths[:, None]] = flat
    return out


def pad_list(row: Any, total: int, fill: int, side: str) -> list[int]:
    """One row as a list with pads on a side; a row that is long enough stays as it is."""
    values = list(as_lists(row))
    pads = [fill] * (total - len(values))
    return values + pads if side == "right" else pads + values


def _total(lengths: NDArray[np.int64], limits: Limits, multiple: int | None) -> int | None:
    if not limits.pads:
        return None
    total = int(lengths.max()) if limits.padding == "longest" else limits.max_length
    assert total is not None
    return total if not multiple else -(-total // multiple) * multiple


def _columns(inputs: Any, main: str) -> dict[str, Any]:
    """Rows or columns as a fresh dictionary of columns that holds `main`."""
    if isinstance(inputs, Mapping):
        columns = dict(inputs)
    elif not isinstance(inputs, list | tuple) or (inputs and not isinstance(inputs[0], Mapping)):
        raise ValueError(
            f"expected rows (a list of mappings) or a mapping of columns, received {shown(inputs)}: "
            "call the tokenizer on texts, and pad what it returns"
        )
    elif not inputs:
        raise ValueError(
            "there are no rows to pad: expected at least one, received an empty list: leave out empty batches"
        )
    else:
        columns = _transpose(inputs)
    if main not in columns:
        have = ", ".join(map(str, columns)) or "none"
        raise ValueError(
            f"rows have no {main!r} to pad by; their columns: {have}: tokenize the rows first, or keep {main!r}"
        )
    return columns


def _transpose(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    try:
        return {name: [row[name] for row in rows] for name in list(rows[0])}
    except KeyError as error:
        index = next(i for i, row in enumerate(rows) if error.args[0] not in row)
        raise ValueError(
            f"row {index} has the columns {', '.join(rows[index])}; row 0 also has {error.args[0]!r}: "
            "all rows of a batch must have the same columns"
        ) from error


def _is_nested(rows: Any) -> bool:
    if hasattr(rows, "ndim"):
        return bool(rows.ndim > 1)
    return isinstance(rows[0], list | tuple) or getattr(rows[0], "ndim", 0) > 0


def _kind(rows: Any) -> str | None:
    """What the rows are made of: "pt", "np", or None for lists."""
    first = rows[0] if isinstance(rows, list | tuple) else rows
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if isinstance(first, np.ndarray | np.generic):
        return "np"
    if isinstance(first, list | tuple | int):
        return None
    if type(first).__module__.split(".")[0] == "torch":
        return "pt"
    raise ValueError(
        f"input_ids hold {shown(first)}: expected integers in lists, arrays or tensors: convert tokens with "
        "tokenizer.convert_tokens_to_ids"
    )
