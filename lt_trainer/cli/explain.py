"""`lt-trainer explain`: what a configuration comes to on this machine."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.explain import explain

if TYPE_CHECKING:
    from lt_trainer.cli.request import Request


def explain_request(request: Request) -> str:
    """The plan of a configuration as a table.

    Raises:
        ConfigurationError: the plan cannot be made here, for example because the rows cannot be counted.
    """
    train, given = request.sections["data"].get("train"), request.options.get("num_rows")
    if given is not None and not given.isdecimal():
        problem = f"--num_rows {given}: expected a whole number, the rows of the training data"
        raise ConfigurationError([f"{problem}; write --num_rows 1000, or leave it out to have the file counted"])
    num_rows = count_rows(train) if given is None else int(given)
    if num_rows is None and request.args.max_steps <= 0:
        problem = f"data.train={train!r}: its rows are not counted here, so the steps of an epoch are unknown"
        raise ConfigurationError([f"{problem}; write --num_rows N, or --max_steps N"])
    from lt_trainer.machine import find_facts

    facts = find_facts(num_rows, request.sections["data"].get("validation") is not None)
    return explain(request.args, replace(facts, has_train=True))


def count_rows(name: object) -> int | None:
    """Rows of a CSV, TSV or JSON-lines file; None for what only a reader can count."""
    if not isinstance(name, str) or not name.endswith((".csv", ".tsv", ".jsonl")):
        return None
    with Path(name).expanduser().open(encoding="utf-8-sig", newline="") as file:
        if name.endswith(".jsonl"):
            return sum(1 for line in file if line.strip())
        rows = csv.reader(file, delimiter="\t" if name.endswith(".tsv") else ",")
        return max(sum(1 for row in rows if row) - 1, 0)
