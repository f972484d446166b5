"""The commands by themselves, on a task of one weight, without a command line."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from torch import nn

from lt_trainer import TrainingArguments
from lt_trainer.cli import commands
from lt_trainer.cli.commands import Commands, SaveConfig
from lt_trainer.data.collators import default_data_collator
from lt_trainer.datamodule import TaskData
from lt_trainer.state import TrainerControl, TrainerState
from lt_trainer.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lt_trainer.outputs import EvalPrediction

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Double(nn.Module):
    """Begins as y = 2 x, which is what the rows say."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, Any]:
        y = x * self.weight
        return {"loss": None if labels is None else nn.functional.mse_loss(y, labels), "y": y}


class Doubling(Task):
    def __init__(self) -> None:
        super().__init__(Double())
        self.told: list[TaskData] = []

    def prepare_data_module(self, data: TaskData) -> None:
        self.told.append(data)

    def records(self, predictions: Any, rows: Any = None) -> list[dict[str, Any]]:
        return [{"ü": float(value)} for value in predictions]

    @staticmethod
    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        return {"largest": float(prediction.predictions.max())}


class Rows(TaskData):
    """x is 1, 2, 3 in training, 4, 5 in validation, and 6 in the test where there is one."""

    def __init__(self, *, validation: bool = True, test: bool = True) -> None:
        super().__init__()
        self.has = {"validation": validation, "test": test}

    @property
    def collate(self) -> Any:
        return default_data_collator

    def setup(self, stage: str | None = None) -> None:
        def rows(*numbers: int) -> list[dict[str, float]]:
            return [{"x": float(n), "labels": 2.0 * n} for n in numbers]

        self.train_dataset = rows(1, 2, 3)
        self.eval_dataset = rows(4, 5) if self.has["validation"] else None
        self.test_dataset = rows(6) if self.has["test"] else None


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def make(tmp_path: Path, out: io.StringIO) -> Callable[..., Commands]:
    """Commands that print into `out`; arguments may be added."""

    def build(**options: Any) -> Commands:
        args = TrainingArguments(
            **{
                "output_dir": str(tmp_path / "run"),
                "num_train_epochs": 1,
                "report_to": "none",
                "disable_tqdm": True,
                "use_cpu": True,
                "save_strategy": "no",
                **options,
            }
        )
        return Commands(args, {}, config="task: doubling\n", model_name="double", stdout=out)

    return build


# --- fit --------------------------------------------------------------------------------------------------------------


def test_fit_leaves_model_configuration_and_results(make: Callable[..., Commands], tmp_path: Path) -> None:
    make().fit(Doubling(), Rows())
    results = json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert {"train_loss", "eval_loss", "eval_largest"} <= results.keys()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {"task": "doubling"}
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_fit_without_validation_rows_measures_nothing(make: Callable[..., Commands], tmp_path: Path) -> None:
    make().fit(Doubling(), Rows(validation=False))
    results = json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert not [name for name in results if name.startswith("eval_")]


def test_fit_shows_numbers_in_columns(make: Callable[..., Commands], out: io.StringIO, tmp_path: Path) -> None:
    make().fit(Doubling(), Rows())
    title, *lines = out.getvalue().splitlines()
    assert title == f"trained; the model and its configuration are in {tmp_path / 'run'}"
    width = max(len(line.split()[0]) for line in lines)
    assert f"  {'eval_largest':<{width}}  10" in lines


def test_a_run_that_is_refused_writes_no_configuration(make: Callable[..., Commands], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="eval_strategy"):
        make(eval_strategy="epoch").fit(Doubling(), Rows(validation=False))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_folder_that_cannot_be_written_is_told_before_rows_are_read(
    make: Callable[..., Commands], tmp_path: Path
) -> None:
    class Unread(Rows):
        def setup(self, stage: str | None = None) -> None:
            raise AssertionError("read")

    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make(output_dir=str(tmp_path / "file")).fit(Doubling(), Unread())


@pytest.mark.parametrize(("writes", "there"), [(True, True), (False, False)])
def test_one_process_writes_the_configuration(tmp_path: Path, writes: bool, there: bool) -> None:
    state = TrainerState(is_world_process_zero=writes)
    SaveConfig("a: 1\n").on_train_begin(TrainingArguments(str(tmp_path)), state, TrainerControl())
    assert (tmp_path / "config.yaml").is_file() == there


# --- validate, test ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "title", "metric"),
    [("validate", "2 validation rows", "eval_largest  10"), ("test", "1 test rows", "test_largest  12")],
)
def test_each_command_measures_its_own_rows(
    make: Callable[..., Commands], out: io.StringIO, command: str, title: str, metric: str
) -> None:
    getattr(make(), command)(Doubling(), Rows())
    shown = out.getvalue()
    assert shown.startswith(f"{title}, model double\n")
    assert metric.split() in [line.split() for line in shown.splitlines()]


def test_measuring_writes_no_file(make: Callable[..., Commands], tmp_path: Path) -> None:
    make().validate(Doubling(), Rows())
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_trained_model_tells_the_data_what_it_knows(make: Callable[..., Commands], command: str) -> None:
    task, data = Doubling(), Rows()
    getattr(make(), command)(task, data)
    assert task.told == [data]


def test_a_model_to_train_tells_the_data_nothing(make: Callable[..., Commands]) -> None:
    task = Doubling()
    make().fit(task, Rows())
    assert task.told == []


# --- predict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "expected"), [(True, '{"row": 0, "ü": 12.0}\n'), (False, '{"row": 0, "ü": 8.0}\n{"row": 1, "ü": 10.0}\n')]
)
def test_predictions_are_json_lines_of_the_test_or_else_the_validation_rows(
    make: Callable[..., Commands], out: io.StringIO, test: bool, expected: str
) -> None:
    make().predict(Doubling(), Rows(test=test))
    assert out.getvalue() == expected


def test_predictions_go_into_a_file(make: Callable[..., Commands], out: io.StringIO, tmp_path: Path) -> None:
    make().predict(Doubling(), Rows(), output=str(tmp_path / "new" / "out.jsonl"))
    assert (tmp_path / "new" / "out.jsonl").read_text(encoding="utf-8") == '{"row": 0, "ü": 12.0}\n'
    assert out.getvalue() == f"1 predictions are in {tmp_path / 'new' / 'out.jsonl'}\n"


def test_whatever_is_printed_meanwhile_is_kept_out_of_the_results(
    make: Callable[..., Commands], out: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    class Talking(Rows):
        def setup(self, stage: str | None = None) -> None:
            print("tokenizing")
            super().setup(stage)

    make().predict(Doubling(), Talking())
    assert capsys.readouterr().out == ""
    assert "tokenizing" not in out.getvalue()


def test_other_processes_print_and_write_nothing(
    make: Callable[..., Commands], out: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.Trainer, "is_world_process_zero", lambda self: False)
    made = make()
    made.predict(Doubling(), Rows(), output=str(tmp_path / "out.jsonl"))
    made.validate(Doubling(), Rows())
    assert out.getvalue() == ""
    assert not (tmp_path / "out.jsonl").exists()
