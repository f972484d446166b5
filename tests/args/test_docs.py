"""Every argument has a row in docs/arguments.csv with a test that exists, or is refused by name."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lt_trainer.advice.explain import GOES
from lt_trainer.args.fields import Seq2SeqTrainingArguments
from lt_trainer.args.former import FORMER
from lt_trainer.args.plan import REFUSED

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f.name for f in fields(Seq2SeqTrainingArguments)]
HERE_ALONE = {"warmup_ratio", "logging_dir", "fp16_opt_level", "devices", "overwrite_output_dir"}
"""Fields that transformers 5.23 has not; names of features of ours are added here."""


def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_arguments", ROOT / "docs" / "arguments.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


TABLE = docs().rows_of_the_table()


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_shown_by_a_test_or_refused_by_name(name: str) -> None:
    assert name in TABLE, f"docs/arguments.csv: add a row `{name},unit,test that shows it`"
    test = TABLE[name][1]
    if name in REFUSED:
        return  # tests/args/test_plan.py asks for each and expects the refusal
    assert "::" in test, f"{name} is honoured: name the test that shows it in docs/arguments.csv (path::name)"
    path, _, function = test.partition("::")
    assert function in functions_of(path), f"docs/arguments.csv names {test} for {name}, which is not there"


def test_the_table_has_no_row_too_many() -> None:
    assert set(TABLE) == set(NAMES)
    assert {name for names in GOES.values() for name in names} <= set(NAMES)


def test_the_page_is_what_the_script_writes() -> None:
    module = docs()
    assert (ROOT / "docs" / "arguments.md").read_text(encoding="utf-8") == module.page(), "run python docs/arguments.py"


def test_every_argument_of_transformers_is_a_field_or_another_name_of_one() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = {f.name for f in fields(transformers.Seq2SeqTrainingArguments)}
    assert theirs - set(NAMES) == {"activation_checkpointing", "activation_checkpointing_kwargs"}
    assert {"activation_checkpointing", "activation_checkpointing_kwargs"} <= set(FORMER)
    assert set(NAMES) - theirs >= HERE_ALONE
