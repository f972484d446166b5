"""Files of rows -> `datasets.Dataset`: CSV, TSV, JSON lines, Parquet, plain text, CoNLL, SQuAD.

Everything that can be wrong with a user's file is found here, and said with the file, the line and the columns that
are there. Nothing is cached on disk: a file that was mended is read as it is now.
"""

from __future__ import annotations

import csv
import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import near
from lt_trainer.data.text_files import NumberedRows, Row, lines_of, questions, read_conll, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from datasets import Dataset

ALLOWED = "expected .csv, .tsv, .jsonl (JSON lines), .json or .parquet, .txt (a text a line) or .conll"
FILE_ENDINGS = (*(".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"), *(".txt", ".conll", ".iob", ".bio"))
_TABS = "; separate the columns by single tabs, and take tabs out of texts"


def read_rows(
    path: str | Path,
    *,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    column_names: Sequence[str] | None = None,
    argument_of: Callable[[str], str] | None = None,
) -> Dataset:
    """Reads a file; the format follows from its name.

    CSV has commas and double quotes. TSV has tabs and no quotes at all, as public data sets do: a quote is a character
    like any other. A .json file may hold JSON lines, one list, or an object whose `data` is the list, as SQuAD's files
    are. A .txt file has a `text` a line; a .conll file (.iob, .bio) has `words` and `tags`. Text is UTF-8.

    Args:
        path: the file.
        text_columns: columns that must be there and hold text that is not empty in every row.
        label_column: a column that must be there and hold something in every row.
        column_names: names of the columns of a CSV or TSV file that has no header.
        argument_of: of a column, the argument that names it, for messages; None: text_column, label_column.

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
        _check_columns(path, rows.column_names, text_columns, label_column, argument_of)
        _check_rows(f"{path}, row", enumerate(rows, 1), text_columns, label_column)
        return rows
    read = _readers(column_names).get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{str(path)!r} ends in {path.suffix!r}: {ALLOWED}: convert the file, or give it its ending")
    numbered = list(read(path))
    if not numbered:
        raise ValueError(_no_rows(path))
    columns = list(dict.fromkeys(name for _, row in numbered for name in row))
    _check_columns(path, columns, text_columns, label_column, argument_of)
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

    return {
        **{".csv": read_csv, ".tsv": read_tsv, ".jsonl": _read_json, ".ndjson": _read_json, ".json": _read_json},
        **{".txt": read_text, ".conll": read_conll, ".iob": read_conll, ".bio": read_conll},
    }


def _read_table(path: Path, column_names: Sequence[str] | None, **dialect: Any) -> NumberedRows:
    table = csv.reader(lines_of(path), **dialect)
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
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        if path.suffix.lower() == ".json" and _is_one_value(line):
            yield from _read_whole(path)
            return
        yield number, _as_row(f"{path}:{number}", _parse(f"{path}:{number}", line))


def _is_one_value(line: str) -> bool:
    """Whether the first line of a .json file begins a value that holds all rows, and is no row itself."""
    if line.lstrip().startswith("["):
        return True
    try:
        first = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return line.strip() == "{"  # an object over many lines; anything else is told of as the line that it is
    return isinstance(first, dict) and isinstance(first.get("data"), list)


def _read_whole(path: Path) -> NumberedRows:
    whole = _parse(str(path), "".join(lines_of(path)))
    rows = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected a list of rows, an object whose 'data' is one, or JSON lines, received an object with "
            f"{sorted(whole)}: write the rows one a line with json.dumps"
        )
    if rows and isinstance(rows[0], dict) and "paragraphs" in rows[0]:
        yield from questions(path, rows)
        return
    for number, row in enumerate(rows, 1):
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


def _check_columns(
    path: Path,
    columns: list[str],
    text_columns: Sequence[str],
    label_column: str | None,
    argument_of: Callable[[str], str] | None,
) -> None:
    wanted = [("text", name) for name in text_columns] + ([("label", label_column)] if label_column is not None else [])
    for what, name in wanted:
        if name not in columns and name.partition(".")[0] not in columns:
            hint = ""
            if path.suffix.lower() in (".csv", ".tsv"):
                hint = "; if that is a row and no header, name the columns of the file (column_names)"
            argument = f"{what}_column" if argument_of is None else argument_of(name)
            raise ValueError(
                f"{path}: {what} column {name!r} is not there: expected one of {columns}; name it in {argument}"
                f"{near(name, columns)}{hint}"
            )


def _check_rows(
    prefix: str, rows: Iterable[tuple[int, Row]], text_columns: Sequence[str], label_column: str | None
) -> None:
    for number, row in rows:
        for name in text_columns:
            text = _value(row, name)
            if not isinstance(text, str) or not text.strip():
                received = "nothing" if text is None else repr(text)
                raise ValueError(
                    f"{_at(prefix, number)}: expected text in column {name!r}, received {received:.80}: "
                    "fill it in, or remove the row"
                )
        if label_column is not None and _value(row, label_column) in (None, ""):
            raise ValueError(
                f"{_at(prefix, number)}: expected a label in column {label_column!r}, received nothing: "
                "fill it in, or remove the row"
            )


def _value(row: Row, name: str) -> Any:
    """Of a column, or of "translation.en" the entry "en" of what stands in "translation"."""
    outer, _, inner = name.partition(".")
    nested = row.get(outer) if name not in row and inner else None
    return nested.get(inner) if isinstance(nested, dict) else row.get(name)


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
