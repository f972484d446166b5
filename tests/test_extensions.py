"""What an extension costs: an argument is a field and a row of the plan, a task is one small file and a row."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pytest
import torch

from lt_trainer import ConfigurationError, Trainer, TrainingArguments
from lt_trainer.advice.explain import differences, explain
from lt_trainer.args.fields import arg, told
from lt_trainer.args.hardware import Facts
from lt_trainer.cli import main
from lt_trainer.tasks.registry import TASKS, TaskEntry

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1] / "lt_trainer"
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)

# --- an argument ------------------------------------------------------------------------------------------------------


@told
@dataclass(repr=False)
class MoreArguments(TrainingArguments):
    """One argument more."""

    num_toys: int = arg(1, "toys that watch the run", "1 or more")


def test_a_new_field_is_helped_with() -> None:
    assert "    num_toys: toys that watch the run" in str(MoreArguments.__doc__)


def test_a_new_field_is_read_from_text_and_compared() -> None:
    args = MoreArguments("out", num_toys="3")  # type: ignore[arg-type]
    assert args.num_toys == 3
    assert args != MoreArguments("out")
    assert MoreArguments(**args.to_dict()) == args


def test_a_new_field_is_checked_with_all_others() -> None:
    with pytest.raises(ConfigurationError) as caught:
        MoreArguments("out", num_toys=0, seed=-1)
    assert {problem.partition("=")[0] for problem in caught.value.problems} == {"num_toys", "seed"}


def test_a_new_field_is_what_a_misspelling_meant() -> None:
    with pytest.raises(TypeError, match="did you mean 'num_toys'"):
        MoreArguments("out", num_toy=3)  # type: ignore[call-arg]


def test_a_new_field_is_explained_where_it_differs() -> None:
    args = MoreArguments("out", num_toys=3)
    assert differences(args) == [("num_toys", 3, 1)]
    assert "num_toys" in explain(args, Facts(num_train_rows=8))


@pytest.fixture(scope="module")
def copy_with_an_argument(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has one line more in two files."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "lt_trainer", ignore=shutil.ignore_patterns("__pycache__"))
    insert(folder / "lt_trainer/args/fields.py", FIELD, before="    seed: int = arg(")
    insert(folder / "lt_trainer/args/plan.py", ROW, before='            "max_epochs": duration.max_epochs,')
    return folder


FIELD = '    find_nan: bool = arg(False, "stop at the operation that makes a NaN")\n'
ROW = '            "detect_anomaly": args.find_nan,\n'


def insert(path: Path, line: str, *, before: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} has no single {before!r} any more"
    path.write_text(text.replace(before, line + before))


def lt_trainer_of(folder: Path, *argv: str) -> str:
    search = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "lt_trainer", *argv]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_field_is_an_option_of_the_command_line(copy_with_an_argument: Path) -> None:
    shown = lt_trainer_of(copy_with_an_argument, "fit", "--help")
    (line,) = [line for line in shown.splitlines() if "--find_nan" in line]
    assert line.split() == ["--find_nan", "stop", "at", "the", "operation", "that", "makes", "a", "NaN", "(False)"]


def test_a_row_of_the_plan_reaches_lightning(copy_with_an_argument: Path) -> None:
    argv = ("explain", "--num_rows", "8", "--output_dir", "out", "--find_nan")
    shown = lt_trainer_of(copy_with_an_argument, *argv)
    assert "detect_anomaly=True" in shown.splitlines()[-1]


# --- a task -----------------------------------------------------------------------------------------------------------

TOY = '''\
"""Is a number odd? Told by its bits."""

from torch import nn

from lt_trainer.data.collators import default_data_collator
from lt_trainer.datamodule import TaskData
from lt_trainer.tasks.base import Task


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, bits, labels=None):
        logits = self.linear(bits)
        return {"loss": None if labels is None else nn.functional.cross_entropy(logits, labels), "logits": logits}


class Odd(Task):
    def __init__(self, learning_rate: float = 5e-5):
        super().__init__(Net(), learning_rate=learning_rate)

    def records(self, predictions, rows=None):
        return [{"odd": bool(row.argmax())} for row in predictions]


class Numbers(TaskData):
    def __init__(self, batch_size: int = 8):
        super().__init__(batch_size=batch_size)

    collate = property(lambda self: default_data_collator)

    def setup(self, stage=None):
        rows = [{"bits": [float(n >> i & 1) for i in range(4)], "labels": n & 1} for n in range(16)]
        self.train_dataset = self.eval_dataset = self.test_dataset = rows
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the toy task, with its row in the registry."""
    (tmp_path / "toy_task.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TASKS, "odd", TaskEntry("toy_task", "Odd", "Numbers"))
    torch.manual_seed(0)
    yield importlib.import_module("toy_task")
    del sys.modules["toy_task"]


def test_a_task_takes_forty_lines_or_fewer() -> None:
    assert len(TOY.splitlines()) <= 40


def test_a_task_trains_under_plain_lightning(toy: ModuleType) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=30, accelerator="cpu", **quiet)
    task, data = toy.Odd(learning_rate=0.1), toy.Numbers()
    trainer.fit(task, datamodule=data)
    assert trainer.global_step == 60
    assert float(trainer.callback_metrics["val_loss"]) < 0.2


def test_a_task_trains_through_the_facade(toy: ModuleType, tmp_path: Path) -> None:
    task, data = toy.Odd(), toy.Numbers()
    data.setup()
    args = TrainingArguments(
        str(tmp_path / "run"),
        num_train_epochs=30,
        learning_rate=0.1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(task.model, args, data.collate, data.train_dataset, data.eval_dataset)
    assert trainer.train().global_step == 60
    assert trainer.evaluate()["eval_loss"] < 0.2
    found = task.records(trainer.predict(data.test_dataset).predictions)
    assert [record["odd"] for record in found] == [False, True] * 8


@pytest.mark.usefixtures("toy")
def test_a_row_of_the_registry_gives_a_task_its_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--output_dir", str(tmp_path / "run"), "--learning_rate", "0.1", "--num_train_epochs", "2", "--use_cpu"]
    assert main(["fit", "odd", *options, "--eval_strategy", "epoch", "--report_to", "none"]) == 0
    assert "eval_loss" in capsys.readouterr().out
    assert main(["predict", "odd", *options]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 16
    assert all(record.keys() == {"row", "odd"} for record in records)
