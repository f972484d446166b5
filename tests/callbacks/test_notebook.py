from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer.callbacks import notebook
from lt_trainer.callbacks.base import TrainerCallback
from lt_trainer.callbacks.notebook import NotebookProgressCallback
from lt_trainer.callbacks.progress import PrinterCallback, ProgressCallback
from lt_trainer.checkpoint.find import list_checkpoints
from lt_trainer.machine import in_notebook
from tests.faults import runs

if TYPE_CHECKING:
    from pathlib import Path


class Screen:
    """Stands for IPython.display: keeps what each output shows last, and how often it was drawn."""

    def __init__(self) -> None:
        self.outputs: list[list[str]] = []

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        pictures = [data["text/html"]]
        self.outputs.append(pictures)
        return SimpleNamespace(update=lambda data, raw: pictures.append(data["text/html"]))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A process that looks like the kernel of a notebook."""
    screen = Screen()
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    ipython: Any = SimpleNamespace(get_ipython=lambda: shell, display=screen)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", screen)  # type: ignore[arg-type]
    monkeypatch.setattr(notebook, "SECONDS", 0.0)
    return screen


class Interrupt(TrainerCallback):
    """What the button of a notebook does, in the middle of a step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_terminal_is_no_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    shell: Any = SimpleNamespace(get_ipython=lambda: SimpleNamespace(config={}))  # `ipython` in a terminal
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not in_notebook()
    handler = runs.build(tmp_path, max_steps=1, disable_tqdm=False).callback_handler
    assert [type(c) for c in handler.callbacks if isinstance(c, ProgressCallback)] == [ProgressCallback]


def test_a_run_is_one_output_that_follows_it(screen: Screen, tmp_path: Path) -> None:
    trainer = runs.build(tmp_path, max_steps=4, logging_steps=1, save_strategy="no", disable_tqdm=False)
    trainer.train()
    (pictures,) = screen.outputs
    assert [f"step {done} of 4" in "".join(pictures) for done in range(5)] == [True] * 5
    assert pictures[-1].count("<tr>") == 5
    assert "<svg" in pictures[-1]
    assert "step 4 of 4" in pictures[-1]
    assert "left" not in pictures[-1]


def test_removing_the_progress_bar_removes_it_here_too(screen: Screen, tmp_path: Path) -> None:
    trainer = runs.build(tmp_path, max_steps=1, save_strategy="no", disable_tqdm=False)
    assert isinstance(trainer.pop_callback(ProgressCallback), NotebookProgressCallback)
    trainer.train()
    assert screen.outputs == []


def test_disable_tqdm_prints_in_a_notebook_too(screen: Screen, tmp_path: Path) -> None:
    trainer = runs.build(tmp_path, max_steps=1, disable_tqdm=True)
    assert [type(c) for c in trainer.callback_handler.callbacks][-1] is PrinterCallback


def test_an_evaluation_by_itself_leaves_its_metrics(screen: Screen, tmp_path: Path) -> None:
    trainer = runs.build(tmp_path, max_steps=1, save_strategy="no", disable_tqdm=False)
    metrics = trainer.evaluate(trainer.train_dataset)
    trainer.predict(trainer.train_dataset)
    evaluated, predicted = screen.outputs
    assert "evaluation, batch 1 of" in evaluated[0]
    assert f"{metrics['eval_loss']:.4g}" in evaluated[-1]
    assert "<progress" not in evaluated[-1]
    assert "test_loss" in predicted[-1]


def test_predictions_without_labels_leave_how_many_there_were(screen: Screen, tmp_path: Path) -> None:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerControl, TrainerState

    callback, args, control = NotebookProgressCallback(), TrainingArguments("out"), TrainerControl()
    for _ in range(3):
        callback.on_prediction_step(args, TrainerState(), control, eval_dataloader=[1, 2, 3])
    callback.on_predict(args, TrainerState(), control, metrics={"test_runtime": 1.0, "test_loss": float("nan")})
    ((*_, last),) = screen.outputs
    assert "3 batches predicted" in last


def test_other_processes_show_nothing(screen: Screen) -> None:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerControl, TrainerState

    callback, args, control = NotebookProgressCallback(), TrainingArguments("out"), TrainerControl()
    state = TrainerState(max_steps=2, is_world_process_zero=False)
    callback.on_train_begin(args, state, control)
    callback.on_prediction_step(args, state, control, eval_dataloader=[1])
    callback.on_log(args, state, control, logs={"loss": 1.0})
    callback.on_evaluate(args, state, control, metrics={"eval_loss": 1.0})
    callback.on_train_end(args, state, control)
    assert screen.outputs == []


def test_interrupting_finishes_the_step_saves_and_returns(screen: Screen, tmp_path: Path) -> None:
    output = runs.build(tmp_path, max_steps=6, save_steps=100, callbacks=[Interrupt()]).train()
    assert output.global_step == 3
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["checkpoint-3"]
    again = runs.build(tmp_path, max_steps=6, save_steps=100)
    assert again.train(resume_from_checkpoint=True).global_step == 6


def test_in_a_script_the_same_interrupt_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        runs.build(tmp_path, max_steps=6, save_steps=100, callbacks=[Interrupt()]).train()
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["checkpoint-3"]
