"""Files of rows -> `datasets.Dataset`: CSV, TSV, JSON lines, Parquet; and labels in words -> class numbers.

Everything that can be wrong with a user's file is found here, and said with the file, the line and the columns that
are there. Nothing is cached on disk: a file that was mended is read as it is now.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]
NumberedRows = Iterator[tuple[int, Row]]  # with the line that a row begins in, from 1

ALLOWED = "expected .csv, .tsv, .jsonl (JSON lines), .json or .parquet"
_TABS = "; separate the columns by single tabs, and take tabs out of texts"


def read_rows(
    path: str | Path,
    *,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    column_names: Sequence[str] | None = None,
) -> Dataset:
    """Reads a file; the format follows from its name.

    CSV has commas and double quotes. TSV has tabs and no quotes at all, as public data sets do: a quote is a character
    like any other. A .json file may hold JSON lines or one list. Text is UTF-8.

    Args:
        path: the file.
        text_columns: columns that must be there and hold text that is not empty in every row.
        label_column: a column that must be there and hold something in every row.
        column_names: names of the columns of a CSV or TSV file that has no header.

    Returns:
        All rows in their order. CSV and TSV values are `str`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read as what its name says, or a row is not as asked for; names file and line.
    """
    from datasets import Dataset

    path = Path(path)
    _check_file(path)
    if path.suffix == ".parquet":
        rows = _read_parquet(path)
        _check_columns(path, rows.column_names, text_columns, label_column)
        _check_rows(f"{path}, row", enumerate(rows, 1), text_columns, label_column)
        return rows
    read = _readers(column_names).get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{str(path)!r} ends in {path.suffix!r}: {ALLOWED}: convert the file, or give it its ending")
    numbered = list(read(path))
    if not numbered:
        raise ValueError(_no_rows(path))
    columns = list(dict.fromkeys(name for _, row in numbered for name in row))
    _check_columns(path, columns, text_columns, label_column)
    _check_rows(f"{path}:", numbered, text_columns, label_column)
    _check_types(path, numbered, columns)
    return Dataset.from_dict({name: [row.get(name) for _, row in numbered] for name in columns})


def _check_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"{str(path)!r}: no such file (looked in {path.absolute().parent}){_near_file(path)}: "
            "correct the name, or give the whole path"
        )
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder: expected a file, {ALLOWED.removeprefix('expected ')}: "
            "name one of the files in it"
        )


# --- formats ----------------------------------------------------------------------------------------------------------


def _readers(column_names: Sequence[str] | None) -> dict[str, Callable[[Path], NumberedRows]]:
    def read_csv(path: Path) -> NumberedRows:
        return _read_table(path, column_names, delimiter=",", strict=True)

    def read_tsv(path: Path) -> NumberedRows:
        return _read_table(path, column_names, delimiter="\t", quoting=csv.QUOTE_NONE)

    return {".csv": read_csv, ".tsv": read_tsv, ".jsonl": _read_json, ".ndjson": _read_json, ".json": _read_json}


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = line[error.start : error.start + 1]
                raise ValueError(
                    f"{path}:{number}: byte {found!r} at column {error.start + 1} is not UTF-8: save the file as UTF-8"
                ) from error


def _read_table(path: Path, column_names: Sequence[str] | None, **dialect: Any) -> NumberedRows:
    table = csv.reader(_lines(path), **dialect)
    header = list(column_names) if column_names is not None else None
    while True:
        line = table.line_num + 1
        try:
            values = next(table, None)
        except csv.Error as error:
            raise ValueError(
                f"{path}:{line}: {error}: a quote that is never closed, or text with quotes that are not doubled: "
                'close it, or write "" for a quote in a text'
            ) from error
        if values is None:
            return
        if not values:  # an empty line
            continue
        if header is None:
            header = values
            if len(set(header)) < len(header):
                raise ValueError(f"{path}:{line}: two columns of the header have one name: {header}: rename one")
        elif len(values) != len(header):
            raise ValueError(
                f"{path}:{line}: expected {len(header)} columns, {header}, received {len(values)}"
                + ("; put double quotes around text that holds commas" if dialect["delimiter"] == "," else _TABS)
            )
        else:
            yield line, dict(zip(header, values, strict=True))


def _read_json(path: Path) -> NumberedRows:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        if path.suffix.lower() == ".json" and line.lstrip().startswith("["):
            yield from _read_json_list(path)
            return
        yield number, _as_row(f"{path}:{number}", _parse(f"{path}:{number}", line))


def _read_json_list(path: Path) -> NumberedRows:
    for number, row in enumerate(_parse(str(path), "".join(_lines(path))), 1):
        yield number, _as_row(f"{path}, row {number}", row)


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        received = text.strip()[:80]
        raise ValueError(
            f"{where}: expected a JSON object on one line, received {received!r} ({error}): "
            "correct it, or write the rows with json.dumps"
        ) from error


def _as_row(where: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise ValueError(
            f'{where}: expected a JSON object such as {{"text": ..., "label": ...}}, received {row!r:.80}: '
            "give its values the names of columns"
        )
    return row


def _read_parquet(path: Path) -> Dataset:
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} is not a Parquet file that can be read: {error}: write it again, "
            "or give it the ending of what it is"
        ) from error
    if not table.num_rows:
        raise ValueError(_no_rows(path))
    return Dataset(table)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_columns(path: Path, columns: list[str], text_columns: Sequence[str], label_column: str | None) -> None:
    wanted = [("text", name) for name in text_columns] + ([("label", label_column)] if label_column is not None else [])
    for what, name in wanted:
        if name not in columns:
            hint = ""
            if path.suffix.lower() in (".csv", ".tsv"):
                hint = "; if that is a row and no header, name the columns of the file (column_names)"
            raise ValueError(
                f"{path}: {what} column {name!r} is not there: expected one of {columns}; name it ({what}_column){hint}"
            )


def _check_rows(
    prefix: str, rows: Iterable[tuple[int, Row]], text_columns: Sequence[str], label_column: str | None
) -> None:
    for number, row in rows:
        for name in text_columns:
            text = row.get(name)
            if not isinstance(text, str) or not text.strip():
                received = "nothing" if text is None else repr(text)
                raise ValueError(
                    f"{_at(prefix, number)}: expected text in column {name!r}, received {received:.80}: "
                    "fill it in, or remove the row"
                )
        if label_column is not None and row.get(label_column) in (None, ""):
            raise ValueError(
                f"{_at(prefix, number)}: expected a label in column {label_column!r}, received nothing: "
                "fill it in, or remove the row"
            )


def _no_rows(path: Path) -> str:
    return f"{path} holds no rows: expected at least one: check that it was written to its end, or name another file"


def _near_file(path: Path) -> str:
    """The files that a mistyped name may have meant, as "; did you mean 'x'?", or nothing."""
    folder = path.absolute().parent
    there = [item.name for item in folder.iterdir() if item.is_file()] if folder.is_dir() else []
    found = get_close_matches(path.name, there, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _at(prefix: str, number: int) -> str:
    return f"{prefix}{number}" if prefix.endswith(":") else f"{prefix} {number}"


def _check_types(path: Path, rows: list[tuple[int, Row]], columns: list[str]) -> None:
    """A column holds values of one type (nulls aside): Arrow would say so too, but not in which line."""
    for name in columns:
        first: type | None = None
        for number, row in rows:
            value = row.get(name)
            if value is None:
                continue
            kind = float if type(value) is int else type(value)
            if first is None:
                first = kind
            elif kind is not first:
                expected = "number" if first is float else first.__name__
                raise ValueError(
                    f"{path}:{number}: column {name!r} held {expected} so far, received {value!r:.80}: "
                    "use one type in a column"
                )


# --- labels -----------------------------------------------------------------------------------------------------------


def label_names_of(datasets: Iterable[Dataset], label_column: str) -> list[str]:
    """The classes of a label column over all splits, in the order of their numbers.

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
    features = [rows.features[label_column] for rows in labelled]
    declared = [feature.names for feature in features if isinstance(feature, ClassLabel)]
    if declared:
        if any(names != declared[0] for names in declared):
            raise ValueError(
                f"the splits name the classes of {label_column!r} differently, {declared}: "
                "expected the same names in one order: cast_column each to one ClassLabel"
            )
        return list(declared[0])
    values = {value for rows in labelled for value in rows[label_column] if value is not None}
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
