from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lt_trainer.cli.files import Entry
from lt_trainer.cli.line import scan
from lt_trainer.cli.merge import Merge
from lt_trainer.cli.names import Names
from lt_trainer.tasks.registry import TASKS


def merged(*options: str, open_sections: tuple[str, ...] = (), **entries: Any) -> Merge:
    """Entries of a file `f.yaml`, dots as `__`, each in line 1; then options."""
    merge = Merge(Names(TASKS["text-classification"], open_sections))
    for name, value in entries.items():
        merge.add_entry(Entry(name.replace("__", "."), value, "f.yaml:1"))
    for option in scan(options).options:
        merge.add_option(option)
    return merge


def test_options_win_over_files() -> None:
    assert merged("--seed", "2", args__seed=1).values["args"] == {"seed": 2}


def test_the_last_of_two_options_wins() -> None:
    assert merged("--seed", "2", "--seed", "3").values["args"] == {"seed": 3}


def test_an_option_inside_a_dict_keeps_the_rest_of_it() -> None:
    merge = merged("--lr_scheduler_kwargs.b.c", "2", args__lr_scheduler_kwargs={"a": 1, "b": {"d": 3}})
    assert merge.values["args"]["lr_scheduler_kwargs"] == {"a": 1, "b": {"d": 3, "c": 2}}


def test_the_dict_of_a_file_is_not_changed_by_an_option() -> None:
    given = {"a": 1}
    merged("--lr_scheduler_kwargs.a", "2", args__lr_scheduler_kwargs=given)
    assert given == {"a": 1}


def test_problems_are_gathered_each_with_its_origin() -> None:
    merge = merged("--sed", "1", args__seed="many", data__text_colum="x")
    assert merge.problems == [
        "f.yaml:1: seed='many': expected a whole number",
        "f.yaml:1: data.text_colum: no such name; did you mean 'text_column'?",
        "--sed: no such name; did you mean 'seed'?",
    ]


def test_a_problem_of_the_arguments_is_placed_where_its_name_stands() -> None:
    merge = merged(args__learning_rate=-1.0)
    merge.arguments(needs_output=False)
    assert merge.problems == ["f.yaml:1: learning_rate=-1.0: expected 0 or more"]


@pytest.mark.parametrize(("needs_output", "count"), [(True, 1), (False, 0)])
def test_an_output_folder_is_asked_for_where_something_is_written(needs_output: bool, count: int) -> None:
    merge = merged()
    merge.arguments(needs_output=needs_output)
    assert len(merge.problems) == count


# --- what follows -----------------------------------------------------------------------------------------------------


def test_the_tokenizer_follows_the_model() -> None:
    merge = merged("--model", "bert")
    merge.fill("fit")
    assert merge.values["data"]["tokenizer"] == "bert"


def test_a_tokenizer_that_is_named_stays() -> None:
    merge = merged("--model", "bert", "--tokenizer", "other")
    merge.fill("fit")
    assert merge.values["data"]["tokenizer"] == "other"


@pytest.mark.parametrize(
    ("command", "kept"),
    [("fit", ["test", "train", "validation"]), ("validate", ["validation"]), ("predict", ["test", "validation"])],
)
def test_rows_that_a_command_does_not_use_go(command: str, kept: list[str]) -> None:
    merge = merged("--train_file", "a", "--validation_file", "b", "--test_file", "c")
    merge.fill(command)
    assert sorted(merge.values["data"]) == kept


@pytest.mark.parametrize(("has_config", "model"), [(True, "run"), (False, "bert")])
def test_what_a_run_left_is_measured_where_it_is_a_model(tmp_path: Path, has_config: bool, model: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if has_config:
        (folder / "config.json").write_text("{}")
    merge = merged("--output_dir", str(folder), model__model="bert")
    merge.fill("test")
    assert Path(merge.values["model"]["model"]).name == model


@pytest.mark.parametrize(("options", "tokenizer"), [((), "run"), (("--tokenizer", "other"), "other")])
def test_a_measured_run_brings_its_tokenizer_unless_another_is_typed(
    tmp_path: Path, options: tuple[str, ...], tokenizer: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    merge = merged("--output_dir", str(folder), *options, data__tokenizer="bert")
    merge.fill("test")
    assert Path(merge.values["data"]["tokenizer"]).name == tokenizer


# --- what is missing --------------------------------------------------------------------------------------------------


def test_required_names_are_asked_for() -> None:
    merge = merged("--train_file", "a")
    merge.check_given("fit")
    assert merge.problems == ["model.model is missing: write --model.model, or set it in a file"]


@pytest.mark.parametrize(("command", "option"), [("fit", "train"), ("validate", "validation"), ("predict", "test")])
def test_a_command_asks_for_its_rows(command: str, option: str) -> None:
    merge = merged("--model", "bert")
    merge.check_given(command)
    assert merge.problems == [f"{command} needs rows: give --{option}_file FILE (data.{option})"]


def test_data_of_the_users_own_class_need_no_files() -> None:
    merge = merged("--model", "bert", open_sections=("data",))
    merge.check_given("fit")
    assert merge.problems == []


def test_a_file_that_is_not_there_is_named_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    merge = merged(data__train="rows.csv")
    merge.check_files("train", "validation")
    (problem,) = merge.problems
    assert problem.startswith(f"f.yaml:1: data.train='rows.csv': there is no such file (from {tmp_path})")


@pytest.mark.parametrize("value", ["imdb", "rows.csv"])
def test_names_that_may_be_no_files_and_files_that_are_there_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\n")
    merge = merged(data__train=value)
    merge.check_files("train")
    assert merge.problems == []


@pytest.mark.parametrize(
    ("command", "options", "count"),
    [
        ("fit", ("--eval_strategy", "epoch"), 1),
        ("fit", ("--eval_strategy", "no"), 0),
        ("fit", (), 0),
        ("fit", ("--eval_strategy", "epoch", "--validation_file", "b"), 0),
        ("search", (), 1),
        ("search", ("--validation_file", "b"), 0),
    ],
)
def test_an_evaluation_and_a_search_need_rows(command: str, options: tuple[str, ...], count: int) -> None:
    merge = merged(*options)
    merge.check_evaluation(command)
    assert len(merge.problems) == count
