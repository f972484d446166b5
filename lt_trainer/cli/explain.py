"""`lt-trainer explain`: what a configuration comes to on this machine."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lt_trainer.advice.explain import explain
from lt_trainer.args.check import ConfigurationError

if TYPE_CHECKING:
    from lt_trainer.args.hardware import Facts
    from lt_trainer.cli.request import Request


def explain_request(request: Request) -> str:
    """The plan of a configuration as a table.

    Raises:
        ConfigurationError: the plan cannot be made here, for example because the rows cannot be counted.
    """
    facts = facts_of(request)
    if facts.num_train_rows is None and request.args.max_steps <= 0:
        problem = f"data.train={request.sections['data'].get('train')!r}: its rows are not counted here, so the steps"
        raise ConfigurationError([f"{problem} of an epoch are unknown; write --num_rows N, or --max_steps N"])
    return explain(request.args, facts)


def facts_of(request: Request) -> Facts:
    """This machine, and the rows as far as they can be counted without reading them all in.

    Raises:
        ConfigurationError: `--num_rows` is no number.
    """
    data, given = request.sections["data"], request.options.get("num_rows")
    if given is not None and not given.isdecimal():
        problem = f"--num_rows {given}: expected a whole number, the rows of the training data"
        raise ConfigurationError([f"{problem}; write --num_rows 1000, or leave it out to have the file counted"])
    num_rows = count_rows(data.get("train")) if given is None else int(given)
    from lt_trainer.machine import find_facts

    has_eval = any(data.get(name) is not None for name in ("validation", "dataset"))
    return replace(find_facts(num_rows, has_eval), has_train=True)


def count_rows(name: object) -> int | None:
    """Rows of a CSV, TSV or JSON-lines file; None for what only a reader can count."""
    if not isinstance(name, str) or not name.endswith((".csv", ".tsv", ".jsonl")):
        return None
    with Path(name).expanduser().open(encoding="utf-8-sig", newline="") as file:
        if name.endswith(".jsonl"):
            return sum(1 for line in file if line.strip())
        rows = csv.reader(file, delimiter="\t" if name.endswith(".tsv") else ",")
        return max(sum(1 for row in rows if row) - 1, 0)
