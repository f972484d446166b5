from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.cli.line import scan
from lt_trainer.cli.request import Request, read_request

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


def asked(*argv: object, command: str = "fit") -> Request:
    base = ["text-classification", "--print_config"]
    return read_request(command, scan([*base, *map(str, argv)]))


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--learning_rate", "2e-5"], "learning_rate", 2e-5),
        (["--learning-rate=2e-5"], "learning_rate", 2e-5),
        (["--bf16"], "bf16", True),
        (["--bf16", "1"], "bf16", True),
        (["--bf16", "--no_bf16"], "bf16", False),
        (["--no_remove_unused_columns"], "remove_unused_columns", False),
        (["--max_steps", "1e3"], "max_steps", 1000),
        (["--label_names", "a", "b"], "label_names", ["a", "b"]),
        (["--label_names", "a,b"], "label_names", ["a", "b"]),
        (["--save_total_limit", "None"], "save_total_limit", None),
        (["--run_name", "None"], "run_name", None),
        (["--run_name", "7"], "run_name", "7"),
        (["--eval_strategy", "no"], "eval_strategy", "no"),
        (["--lr_scheduler_kwargs", '{"a": "1", "b": 2}'], "lr_scheduler_kwargs", {"a": "1", "b": 2}),
        (["--lr_scheduler_kwargs.b", "2"], "lr_scheduler_kwargs", {"b": 2}),
        (["--seed", "1", "--seed", "2"], "seed", 2),
    ],
)
def test_options_are_read_as_transformers_users_type_them(argv: list[str], name: str, value: object) -> None:
    found = getattr(asked(*argv).args, name)
    assert found == value
    assert type(found) is type(value) or isinstance(found, str)


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--learning_rate", "-1e-3"], "learning_rate=-0.001: expected 0 or more"),
        (["--learning_rate"], "--learning_rate: expected a value after it"),
        (["--seed", "1", "2"], "--seed 1 2: expected one value"),
        (["--bf17"], "--bf17: no such name; did you mean 'bf16'?"),
        (["--no_bf17"], "--no_bf17: no such name"),
        (["--max_length", "long"], "max_length='long': expected a whole number"),
        (["--trainer.max_epochs", "3"], "--trainer.max_epochs: decided by the arguments; use --num_train_epochs"),
        (["--use_liger_kernel"], "use_liger_kernel=True: not supported; "),
        (["--task", "ner"], "task 'ner' does not exist: expected one of text-classification"),
        (["--fp16", "--bf16"], "fp16=True and bf16=True"),
    ],
)
def test_options_that_cannot_be_used_are_told(argv: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asked(*argv)
    assert any(text.startswith(problem) or problem in text for text in caught.value.problems)


def test_all_problems_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("args:\n  learning_rate: -1\n  warmup_step: 3\ndata:\n  text_colum: x\n")
    with pytest.raises(ConfigurationError) as caught:
        asked("-c", path, "--sed", 1)
    assert sorted(caught.value.problems) == [
        "--sed: no such name; did you mean 'seed'?",
        f"{path}:2: learning_rate=-1: expected 0 or more",
        f"{path}:3: args.warmup_step: no such name; did you mean 'warmup_steps'?",
        f"{path}:5: data.text_colum: no such name; did you mean 'text_column'?",
    ]


def test_files_are_merged_left_to_right_and_options_win(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: text-classification\nargs: {seed: 1, learning_rate: 1.0, max_steps: 1}\n")
    (tmp_path / "b.json").write_text('{"learning_rate": 2.0, "max_steps": 2}')  # as transformers writes its arguments
    request = asked("-c", tmp_path / "a.yaml", "-c", tmp_path / "b.json", "--max_steps", 3)
    args = request.args
    assert (args.seed, args.learning_rate, args.max_steps) == (1, 2.0, 3)


def test_names_of_the_example_scripts_are_taken() -> None:
    request = asked("--model_name_or_path", "bert", "--train_file", "a.csv", "--max_seq_length", "64")
    assert request.sections["model"] == {"model": "bert"}
    assert request.sections["data"] == {"train": "a.csv", "max_length": 64, "tokenizer": "bert"}


def test_raw_flags_of_lightning_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("trainer:\n  callbacks:\n    - class_path: x.Y\n")
    request = asked("-c", tmp_path / "a.yaml", "--trainer.limit_train_batches", "0.5", "--trainer.detect_anomaly")
    assert request.sections["trainer"] == {
        "callbacks": [{"class_path": "x.Y"}],
        "limit_train_batches": 0.5,
        "detect_anomaly": True,
    }


def test_configuration_reads_back_to_itself(tmp_path: Path) -> None:
    argv = ["--model", "bert", "--train_file", "1e5", "--learning_rate", "2e-5", "--eval_strategy", "no"]
    argv += ["--lr_scheduler_kwargs", '{"a": "1", "b": 2.5}', "--label_names", "7", "--trainer.profiler", "simple"]
    request = asked(*argv, "--run_name", "1e3", "--output_dir", "runs/ä")
    (tmp_path / "saved.yaml").write_text(request.as_yaml())
    again = read_request("fit", scan(["--print_config", "-c", str(tmp_path / "saved.yaml")]))
    assert again.args == request.args
    assert again.as_yaml() == request.as_yaml()
    assert {name: dict(again.sections[name]) for name in ("model", "data", "trainer")} == {
        name: dict(request.sections[name]) for name in ("model", "data", "trainer")
    }


def test_saved_configuration_follows_another_output_dir(tmp_path: Path) -> None:
    (tmp_path / "saved.yaml").write_text(asked("--output_dir", "a").as_yaml())
    assert asked("-c", tmp_path / "saved.yaml", "--output_dir", "b").args.logging_dir == "b/runs"


def test_configuration_holds_every_argument_and_no_token() -> None:
    shown = asked("--hub_token", "hf_secret").as_yaml()
    assert "hf_secret" not in shown
    assert yaml.safe_load(shown)["args"].keys() == {f.name for f in fields(TrainingArguments)}


def test_own_class_keeps_its_path_and_arguments() -> None:
    request = asked("--model.class_path", "mine.Task", "--model.depth", "3")
    assert request.class_paths["model"] == "mine.Task"
    assert yaml.safe_load(request.as_yaml())["model"] == {"class_path": "mine.Task", "depth": 3}


@pytest.mark.parametrize(
    ("command", "argv", "problem"),
    [
        ("fit", [], "model.model is missing: write --model.model"),
        ("fit", [], "fit needs rows: give --train_file"),
        ("fit", [], "output_dir is missing"),
        ("validate", [], "validate needs rows: give --validation_file"),
        ("test", [], "test needs rows: give --test_file"),
        ("fit", ["--train_file", "no/such.csv"], "data.train='no/such.csv': there is no such file"),
        ("fit", ["--eval_strategy", "epoch"], "eval_strategy='epoch' without evaluation rows"),
    ],
)
def test_what_is_missing_is_told_before_anything_runs(
    lt_trainer: Run, command: str, argv: list[str], problem: str
) -> None:
    answer = lt_trainer(command, "text-classification", *argv)
    assert answer.code == 2
    assert problem in answer.err


def test_missing_task_lists_those_there_are(lt_trainer: Run) -> None:
    assert "the task is missing: expected one of text-classification" in lt_trainer("fit").err


def test_only_the_rows_that_a_command_uses_are_kept() -> None:
    files = ["--train_file", "a.csv", "--validation_file", "b.csv", "--test_file", "c.csv"]
    for command, kept in (("fit", "abc"), ("validate", "b"), ("test", "c"), ("predict", "bc")):
        data = asked(*files, command=command).sections["data"]
        assert sorted(name[0] for name in data.values()) == [*kept]


def test_trained_model_in_output_dir_is_measured_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "run.yaml").write_text(f"model: base\nargs: {{output_dir: {tmp_path}}}\n")
    config = ["-c", tmp_path / "run.yaml"]
    assert asked(*config, command="test").sections["model"]["model"] == str(tmp_path)
    assert asked(*config, command="test").sections["data"]["tokenizer"] == str(tmp_path)
    assert asked(*config, "--model", "other", command="test").sections["model"]["model"] == "other"
    assert asked(*config, command="fit").sections["model"]["model"] == "base"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (["--evaluation_strategy", "epoch", "--validation_file", "b.csv"], "eval_strategy", "epoch"),
        (["--no_cuda"], "use_cpu", True),
        (["--args.per_gpu_train_batch_size", "4"], "per_device_train_batch_size", 4),
        (["--group_by_length"], "train_sampling_strategy", "group_by_length"),
        (["--activation_checkpointing"], "gradient_checkpointing", True),
    ],
)
def test_former_names_of_arguments_are_taken(line: list[str], name: str, value: object, tmp_path: Path) -> None:
    request = asked("--model", "bert", "--train_file", "a.csv", "--output_dir", "out", *line)
    assert getattr(request.args, name) == value
    (tmp_path / "saved.yaml").write_text(request.as_yaml())
    again = read_request("fit", scan(["--print_config", "-c", str(tmp_path / "saved.yaml")]))
    assert again.args == request.args
