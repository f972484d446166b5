"""Labels as they stand in rows -> class numbers and their names, several of them, or numbers to be met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from datasets import Dataset

SINGLE_LABEL, MULTI_LABEL = "single_label_classification", "multi_label_classification"
REGRESSION = "regression"
PROBLEM_TYPES = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)


def label_names_of(datasets: Iterable[Dataset], label_column: str) -> list[str]:
    """The classes of a label column over all splits, in the order of their numbers; a row may hold a list of them.

    Returns:
        The names of a `ClassLabel` feature as they are; of labels in words all of them, sorted; of numbers from 0
        (also where they were read as text) `LABEL_0` to the highest.

    Raises:
        ValueError: no split has the column, splits name their classes differently, or there are fewer than two.
    """
    from datasets import ClassLabel

    splits = list(datasets)
    labelled = [rows for rows in splits if label_column in rows.column_names]
    if not labelled:
        columns = splits[0].column_names if splits else []
        raise ValueError(
            f"label column {label_column!r} is not there: expected one of {columns}; name it (label_column)"
        )
    features = [getattr(rows.features[label_column], "feature", rows.features[label_column]) for rows in labelled]
    declared = [feature.names for feature in features if isinstance(feature, ClassLabel)]
    if declared:
        if any(names != declared[0] for names in declared):
            raise ValueError(
                f"the splits name the classes of {label_column!r} differently, {declared}: "
                "expected the same names in one order: cast_column each to one ClassLabel"
            )
        return list(declared[0])
    values = {value for rows in labelled for value in _distinct(rows, label_column)}
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        names = [f"LABEL_{i}" for i in range(max(n for n in numbers if n is not None) + 1)] if numbers else []
    else:
        names = sorted(str(value) for value in values)
    if len(names) < 2:
        raise ValueError(
            f"label column {label_column!r} holds {sorted(map(repr, values))}: expected two classes or more: "
            "name another column (label_column), or add rows of other classes"
        )
    return names


def encode_labels(rows: Dataset, label_column: str, label_names: Sequence[str], *, required: bool = True) -> Dataset:
    """Adds a column `labels` with class numbers (int64).

    Args:
        rows: with labels as names or as numbers from 0.
        label_column: their column.
        label_names: names of the classes in the order of their numbers.
        required: False: rows without the column are returned as they are.

    Raises:
        ValueError: there is no such column, or a label is neither a class's name nor its number (names the row).
    """
    from datasets import Value

    if label_column not in rows.column_names:
        if not required:
            return rows
        raise ValueError(
            f"label column {label_column!r} is not there: expected one of {rows.column_names}; name it (label_column)"
        )
    ids = {name: i for i, name in enumerate(label_names)}
    labels = [_class_number(i, value, ids, label_column) for i, value in enumerate(rows[label_column])]
    unused = "_" * (1 + max(map(len, rows.column_names)))
    encoded = rows.add_column(unused, labels, feature=Value("int64"))
    if "labels" in rows.column_names:
        encoded = encoded.remove_columns("labels")
    return encoded.rename_column(unused, "labels")


def _class_number(row: int, value: Any, ids: dict[str, int], column: str) -> int:
    if isinstance(value, str) and value in ids:
        return ids[value]
    number = _number(value)
    if number is None and isinstance(value, bool) and str(value) in ids:
        return ids[str(value)]
    if number is None or number >= len(ids):
        known = ", ".join(map(repr, list(ids)[:10])) + (", ..." if len(ids) > 10 else "")
        raise ValueError(
            f"row {row} has label {value!r} in column {column!r}: expected a number from 0 to {len(ids) - 1}, "
            f"or one of the names {known}: correct the row, or give all classes in label_names"
        )
    return number


def _number(value: Any) -> int | None:
    """A label as a class number; None where it is a name, a truth value, negative, or anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _distinct(rows: Dataset, column: str) -> list[Any]:
    """The different values of a column, those inside lists one by one, without nulls."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: set[Any] = set()
    for table in rows.select_columns([column]).with_format("arrow").iter(batch_size=10_000):
        values = table[column].combine_chunks()
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = pc.list_flatten(values)
        found.update(pc.unique(values).to_pylist())
    return [value for value in found if value is not None]


# --- several labels a row, and numbers --------------------------------------------------------------------------------


def problem_type_of(datasets: Iterable[Dataset], label_column: str) -> str:
    """What a label column asks for: lists are several labels a row, fractions are numbers, all else is one label."""
    for rows in datasets:
        if label_column not in (rows.column_names or ()):
            continue
        values = _distinct(rows.select(range(min(len(rows), 1000))), label_column)
        if hasattr(rows.features[label_column], "feature"):
            return MULTI_LABEL
        if values and all(_is_number(value) for value in values) and any(_number(value) is None for value in values):
            return REGRESSION
    return SINGLE_LABEL


def encode_targets(
    values: Sequence[Any], rows: Sequence[int], label_column: str, names: Sequence[str], problem_type: str
) -> list[Any]:
    """The targets of some rows.

    Args:
        values: as they stand in the rows: a name or a number from 0; a list of these, or a list with a share of 0 to 1
            for each class; a number to be met.
        rows: their numbers, for the errors.
        label_column: their column, likewise.
        names: names of the classes in the order of their numbers.
        problem_type: one of PROBLEM_TYPES.

    Returns:
        Class numbers; for several labels a row a share for each class; floats for regression.

    Raises:
        ValueError: a label that is neither a class's name nor its number, or no number (names the row).
    """
    if problem_type == REGRESSION:
        return [_float(row, value, label_column) for row, value in zip(rows, values, strict=True)]
    ids = {name: i for i, name in enumerate(names)}
    if problem_type == SINGLE_LABEL:
        return [_class_number(row, value, ids, label_column) for row, value in zip(rows, values, strict=True)]
    return [_shares(row, value, ids, label_column) for row, value in zip(rows, values, strict=True)]


def class_numbers(
    values: Sequence[Any], row: int, label_column: str, ids: dict[str, int], known: dict[Any, int] | None = None
) -> list[int]:
    """The class numbers of a row's labels; `known` remembers those of rows before."""
    known = {} if known is None else known
    for value in values:
        if value not in known:
            known[value] = _class_number(row, value, ids, label_column)
    return [known[value] for value in values]


def _shares(row: int, value: Any, ids: dict[str, int], column: str) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == len(ids) and all(isinstance(share, float) for share in values):
        return values
    shares = [0.0] * len(ids)
    for label in values:
        shares[_class_number(row, label, ids, column)] = 1.0
    return shares


def _float(row: int, value: Any, column: str) -> float:
    if not _is_number(value):
        raise ValueError(
            f"row {row} has {value!r:.80} in column {column!r}: expected a number: correct the row, or ask for classes "
            f"with problem_type={SINGLE_LABEL!r}"
        )
    return float(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lstrip("+-").replace(".", "", 1).replace("e-", "", 1).isdecimal()
    return isinstance(value, int | float) and not isinstance(value, bool)
