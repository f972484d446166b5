"""Rows against the model, before anything is computed: labels, token ids, lengths, columns.

Columns of a `datasets.Dataset` are scanned as Arrow arrays before training starts (a million rows take about a second);
rows of any other data set are checked batch by batch, before the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt_trainer.data.collators import IGNORED_LABEL
from lt_trainer.data.windows import Batch, fetch

_SCAN_ROWS = 20_000
LABEL_COLUMNS = ("labels", "label", "label_ids")


@dataclass(frozen=True)
class Limits:
    """What a model can take; None where it has no such limit.

    Attributes:
        vocab_size: token ids are below it.
        max_length: tokens of a row.
        num_labels: class labels are below it.
        label_columns: columns that may hold labels; without one of them there is no loss.
        needs_ids: rows come with `input_ids`; a collator of the caller's may make them of anything.
    """

    vocab_size: int | None = None
    max_length: int | None = None
    num_labels: int | None = None
    label_columns: tuple[str, ...] = LABEL_COLUMNS
    needs_ids: bool = False

    def of(self, column: str) -> tuple[int | None, str]:
        """(upper bound of a column's values, what to do about a value beyond it)."""
        if column == "input_ids" or (column in LABEL_COLUMNS and None is not self.num_labels == self.vocab_size):
            return self.vocab_size, "use the tokenizer that belongs to the model"
        if column in LABEL_COLUMNS:
            return self.num_labels, "number the classes from 0, or load the model with as many num_labels as there are"
        return None, ""


def is_stream(dataset: Any) -> bool:
    """Whether a data set is read in its own order, row after row, without a length."""
    has_rows = isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")
    return isinstance(dataset, Iterable) and not has_rows and not isinstance(dataset, str | Mapping)


def check_dataset(dataset: Any, limits: Limits, *, name: str, needs_labels: bool, scan: bool = True) -> None:
    """Checks a map-style data set.

    Args:
        dataset: `datasets.Dataset`, or anything with `len` and row access.
        limits: of the model.
        name: "train_dataset" or "eval_dataset", for the messages.
        needs_labels: whether rows without labels are an error.
        scan: reads whole columns where the data set is in Arrow; the label column always is.

    Raises:
        ValueError: no rows, no label column, or a value beyond a limit (with its row).
        TypeError: a data set without length or rows.
    """
    if isinstance(dataset, Mapping):
        raise TypeError(
            f"{name}: expected one data set, received several, {sorted(map(str, dataset))}: name one of them"
        )
    if not isinstance(dataset, Sized) or isinstance(dataset, str) or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"{name}: expected a data set with len() and rows by number, received {type(dataset).__name__}: "
            "make a datasets.Dataset or a list of it"
        )
    if len(dataset) == 0:
        raise ValueError(f"{name}: expected at least one row, received none: check the file it is from")
    first = fetch(dataset, [0])[0]
    columns = sorted(first) if isinstance(first, Mapping) else []
    if needs_labels and columns and not any(column in columns for column in limits.label_columns):
        raise ValueError(
            f"{name}: expected a column of labels, one of {list(limits.label_columns)}, received {columns}: "
            "rename the one that holds the labels, dataset.rename_column(..., 'labels'), or name it in label_names"
        )
    if columns and limits.needs_ids and "input_ids" not in columns:
        raise ValueError(
            f"{name}: expected tokenized rows with 'input_ids', received {columns}: tokenize it first, "
            "dataset.map(lambda rows: tokenizer(rows['text'], truncation=True), batched=True)"
        )
    if isinstance(dataset, list):
        _check_list(name, dataset, limits)
    if scan:
        for start, table in _arrow_tables(dataset):
            for column in table.column_names:
                _check_column(name, column, table[column], start, limits)


def check_batch(batch: Batch, rows: list[int], limits: Limits) -> None:
    """Checks a collated batch on the CPU.

    Raises:
        ValueError: a value beyond a limit, with its row.
    """
    for column in ("input_ids", *LABEL_COLUMNS):
        values = batch.get(column)
        if values is None or values.is_floating_point():
            continue
        if column == "input_ids":
            _check_length("the batch", int(values.shape[-1]), rows[0] if rows else 0, limits, batch)
        bound, remedy = limits.of(column)
        if bound is None or values.numel() == 0:
            continue
        array = values.reshape(len(values), -1).numpy()
        bad = (array >= bound) | ((array < 0) & ((array != IGNORED_LABEL) | (column == "input_ids")))
        if bad.any():
            row, position = np.argwhere(bad)[0]
            _refuse(
                "the batch",
                column,
                rows[row] if row < len(rows) else int(row),
                int(array[row, position]),
                bound,
                remedy,
            )


def _check_length(name: str, length: int, row: int, limits: Limits, batch: Mapping[str, Any]) -> None:
    """Rows of a batch are padded: only real tokens count."""
    if limits.max_length is None or length <= limits.max_length:
        return
    mask = batch.get("attention_mask")
    longest = length if mask is None else int(mask.sum(-1).max())
    if longest > limits.max_length:
        _refuse_length(name, row, longest, limits.max_length)


def _check_list(name: str, rows: list[Any], limits: Limits) -> None:
    """The labels of rows that are in memory anyway."""
    for number, row in enumerate(rows):
        for column in LABEL_COLUMNS:
            label = row.get(column) if isinstance(row, Mapping) else None
            bound, remedy = limits.of(column)
            if isinstance(label, int) and bound is not None and not 0 <= label < bound and label != IGNORED_LABEL:
                _refuse(name, column, number, label, bound, remedy)


def _arrow_tables(dataset: Any) -> Iterator[tuple[int, Any]]:
    """The columns of a `datasets.Dataset` without a transform, some thousand rows at a time; nothing for others."""
    from datasets import Dataset  # late: half a second of imports

    if isinstance(dataset, Dataset) and dataset.format["type"] in (None, "torch", "numpy", "python"):
        start = 0
        for table in dataset.with_format("arrow").iter(batch_size=_SCAN_ROWS):
            yield start, table
            start += table.num_rows


def _check_column(name: str, column: str, values: Any, start: int, limits: Limits) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    if column == "input_ids" and is_list and limits.max_length is not None:
        lengths = pc.list_value_length(values)
        if (longest := pc.max(lengths).as_py() or 0) > limits.max_length:
            _refuse_length(name, start + pc.index(lengths, longest).as_py(), longest, limits.max_length)
    bound, remedy = limits.of(column)
    flat = pc.list_flatten(values) if is_list else values
    if bound is None or not pa.types.is_integer(flat.type) or len(flat) == 0:
        return
    array = flat.to_numpy(zero_copy_only=False)
    bad = (array >= bound) | ((array < 0) & ((array != IGNORED_LABEL) | (column == "input_ids")))
    if bad.any():
        place = int(np.argmax(bad))
        row = pc.list_parent_indices(values)[place].as_py() if is_list else place
        _refuse(name, column, start + row, int(array[place]), bound, remedy)


def _refuse(name: str, column: str, row: int, value: int, bound: int, remedy: str) -> None:
    raise ValueError(f"{name}, row {row}: '{column}' is {value}, expected 0 to {bound - 1}: {remedy}")


def _refuse_length(name: str, row: int, length: int, limit: int) -> None:
    raise ValueError(
        f"{name}, row {row}: {length} tokens, expected at most {limit}, the rows of the model's position table: "
        f"tokenize with truncation=True, max_length={limit}"
    )
