from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.reports import LoggerReport, reports, tag
from lt_trainer.state import TrainerControl, TrainerState

if TYPE_CHECKING:
    from pathlib import Path


class Notebook:
    """Stands in for a Lightning logger."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.settings: dict[str, Any] = {}

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.settings = params

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.calls.append((step, metrics))

    def save(self) -> None:
        self.calls.append("save")

    def finalize(self, status: str) -> None:
        self.calls.append(status)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def report(notebook: Notebook) -> LoggerReport:
    return LoggerReport(lambda args, step: notebook)  # type: ignore[arg-type, return-value]


def tell(report: LoggerReport, event: str, *, step: int = 0, writes: bool = True, **details: Any) -> None:
    state = TrainerState(global_step=step, is_world_process_zero=writes)
    getattr(report, event)(TrainingArguments("out"), state, TrainerControl(), **details)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", "train/loss"),
        ("grad_norm", "train/grad_norm"),
        ("train_runtime", "train/train_runtime"),
        ("eval_loss", "eval/loss"),
        ("eval_f1_macro", "eval/f1_macro"),
        ("test_loss", "test/loss"),
        ("eval", "train/eval"),
        ("eval_", "train/eval_"),
        ("evaluations", "train/evaluations"),
    ],
)
def test_tags_are_those_of_transformers(name: str, expected: str) -> None:
    assert tag(name) == expected


def test_logs_go_to_the_optimizer_step(report: LoggerReport, notebook: Notebook) -> None:
    tell(report, "on_train_begin")
    tell(report, "on_log", step=7, logs={"loss": 0.5, "eval_loss": 1})
    assert notebook.calls == [(7, {"train/loss": 0.5, "eval/loss": 1.0}), "save"]


def test_only_numbers_are_sent(report: LoggerReport, notebook: Notebook) -> None:
    tell(report, "on_train_begin")
    tell(report, "on_log", logs={"loss": 0.5, "report": "text", "matrix": [[1]]})
    assert notebook.calls[0] == (0, {"train/loss": 0.5})


def test_the_arguments_are_the_settings_of_the_run(report: LoggerReport, notebook: Notebook) -> None:
    tell(report, "on_train_begin")
    assert notebook.settings["learning_rate"] == 5e-5


def test_the_logger_is_closed_when_training_ends(report: LoggerReport, notebook: Notebook) -> None:
    tell(report, "on_train_begin")
    tell(report, "on_train_end")
    tell(report, "on_log", logs={"eval_loss": 1.0})
    assert notebook.calls == ["success"]


def test_other_processes_open_no_logger(report: LoggerReport, notebook: Notebook) -> None:
    tell(report, "on_train_begin", writes=False)
    tell(report, "on_log", writes=False, logs={"loss": 1.0})
    tell(report, "on_train_end", writes=False)
    assert notebook.calls == []


def test_a_run_that_never_starts_opens_nothing() -> None:
    opened: list[TrainingArguments] = []
    LoggerReport(opened.append)  # type: ignore[arg-type]
    assert opened == []


@pytest.mark.parametrize(("report_to", "count"), [(["tensorboard"], 1), ([], 0), (None, 0)])
def test_each_logger_that_is_named_gets_a_report(report_to: list[str] | None, count: int) -> None:
    assert len(reports(report_to)) == count


def test_tensorboards_file_holds_the_numbers(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (report,) = reports(["tensorboard"])
    args, state = TrainingArguments(str(tmp_path), logging_dir=str(tmp_path / "logs")), TrainerState(global_step=3)
    report.on_train_begin(args, state, TrainerControl())
    report.on_log(args, state, TrainerControl(), logs={"loss": 0.25})
    report.on_train_end(args, state, TrainerControl())
    events = event_accumulator.EventAccumulator(str(tmp_path / "logs")).Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(3, 0.25)]


def test_trackio_gets_project_name_and_space_of_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself wants a service, so one that notes its calls stands in for it."""
    calls: list[Any] = []
    run = SimpleNamespace(
        config={}, log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("finish")
    )
    package = ModuleType("trackio")
    package.__spec__ = ModuleSpec("trackio", None)
    package.init = lambda **options: calls.append(options) or run  # type: ignore[attr-defined]
    package.freeze = lambda **options: calls.append(options) or 1 / 0  # type: ignore[attr-defined]  # ends nothing
    monkeypatch.setitem(sys.modules, "trackio", package)
    spaces = {"trackio_space_id": "me/space", "trackio_bucket_id": "me/data", "trackio_static_space_id": "me/done"}
    args = TrainingArguments(str(tmp_path), project="mine", run_name="first", hub_private_repo=True, **spaces)
    (report,) = reports(["trackio"])
    report.on_train_begin(args, TrainerState(global_step=3), TrainerControl())
    report.on_log(args, TrainerState(global_step=3), TrainerControl(), logs={"loss": 0.25})
    report.on_train_end(args, TrainerState(global_step=3), TrainerControl())
    kept = {"space_id": "me/space", "bucket_id": "me/data", "private": True}
    assert calls == [
        {"project": "mine", "name": "first", "resume": "allow", **kept},
        (3, {"train/loss": 0.25}),
        "finish",
        {"space_id": "me/space", "project": "mine", "new_space_id": "me/done"},
    ]
    assert run.config["learning_rate"] == args.learning_rate


def test_a_logger_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.setattr("lt_trainer.callbacks.reports.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"report_to='trackio' needs the package trackio.*pip install trackio"):
        reports(["trackio"])
