"""Writes docs/arguments.md from the fields, from what is refused, and from docs/arguments.csv (units and tests).

    python docs/arguments.py

A test fails where the page is not what this writes, where an argument has no row, or where a row names no test.
"""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

from lt_trainer.advice.explain import goes_to
from lt_trainer.args.fields import Seq2SeqTrainingArguments, TrainingArguments, default_of
from lt_trainer.args.former import FORMER, Renamed
from lt_trainer.args.plan import REFUSED

FOLDER = Path(__file__).parent
FORMER_TEST = "args/test_former.py"
REFUSED_TEST = "args/test_plan.py::test_what_is_not_there_is_refused_by_name"
HEAD = """# Arguments

Written by `python docs/arguments.py`; do not edit. `TrainingArguments` are plain data: making them touches no device.
What a run makes of them: `args.explain(train_dataset)`, or `lt-trainer explain CONFIG`.
"""


def rows_of_the_table() -> dict[str, tuple[str, str]]:
    """Argument -> (unit, test that shows it); the test is empty where the argument is refused."""
    with (FOLDER / "arguments.csv").open(newline="") as file:
        return {row["argument"]: (row["unit"], row["shown by"]) for row in csv.DictReader(file)}


def page() -> str:
    """The text of docs/arguments.md."""
    own = {f.name for f in fields(Seq2SeqTrainingArguments)} - {f.name for f in fields(TrainingArguments)}
    lines = [HEAD, _table("| argument | meaning | unit | default | goes to | shown by |", _arguments(own, False))]
    lines += ["## `Seq2SeqTrainingArguments` has besides\n"]
    lines += [_table("| argument | meaning | unit | default | goes to | shown by |", _arguments(own, True))]
    lines += ["## Names of other releases\n\nThey are taken, read and set like the arguments above.\n"]
    lines += [_table("| name | today | shown by |", _former())]
    return "\n".join(lines)


def _arguments(own: set[str], wanted: bool) -> list[tuple[str, ...]]:
    table, found = rows_of_the_table(), []
    for f in fields(Seq2SeqTrainingArguments):
        if (f.name in own) is wanted:
            unit, test = table.get(f.name, ("", ""))
            goes, shown = goes_to(f.name), f"`{test}`" if "::" in test else test
            if hint := REFUSED.get(f.name):
                goes = f"refused: {hint}"
                shown = f"`{REFUSED_TEST}`"
            found.append((f"`{f.name}`", f.metadata["help"], unit, f"`{default_of(f)!r}`", goes, shown))
    return found


def _former() -> list[tuple[str, ...]]:
    kept = {name: row for name, row in FORMER.items() if isinstance(row, Renamed)}
    found = [(f"`{name}`", f"`{row.today}`", f"`{FORMER_TEST}`") for name, row in kept.items()]
    gone = {name: row for name, row in FORMER.items() if not isinstance(row, Renamed)}
    return found + [(f"`{name}`", f"gone: {row.instead}", f"`{FORMER_TEST}`") for name, row in gone.items()]


def _table(head: str, rows: list[tuple[str, ...]]) -> str:
    cells = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *cells, ""])


if __name__ == "__main__":
    (FOLDER / "arguments.md").write_text(page(), encoding="utf-8")
