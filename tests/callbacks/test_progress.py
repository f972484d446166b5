from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.progress import PrinterCallback, ProgressCallback, readable
from lt_trainer.state import TrainerControl, TrainerState

if TYPE_CHECKING:
    import pytest

ARGS, CONTROL = TrainingArguments("out"), TrainerControl()


def run(callback: ProgressCallback, state: TrainerState, steps: int) -> None:
    callback.on_train_begin(ARGS, state, CONTROL)
    for _ in range(steps):
        state.global_step += 1
        callback.on_step_end(ARGS, state, CONTROL)


def test_the_bar_counts_optimizer_steps_and_shows_loss_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    callback, state = ProgressCallback(), TrainerState(max_steps=4)
    run(callback, state, 3)
    assert (callback.training_bar.total, callback.training_bar.n) == (4, 3)
    callback.on_log(ARGS, state, CONTROL, logs={"loss": 0.123456, "total_flos": 1.0})
    callback.training_bar.refresh()
    callback.on_train_end(ARGS, state, CONTROL)
    captured = capsys.readouterr()
    assert "3/4" in captured.err
    assert "loss=0.1235" in captured.err
    assert "<" in captured.err  # elapsed<left
    assert captured.out.strip() == "{'loss': '0.1235'}"
    assert callback.training_bar is None


def test_a_run_that_goes_on_begins_where_it_was() -> None:
    callback, state = ProgressCallback(), TrainerState(max_steps=10, global_step=6)
    run(callback, state, 1)
    assert (callback.training_bar.initial, callback.training_bar.n) == (6, 7)
    callback.close()


def test_an_evaluation_has_a_bar_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    callback, state = ProgressCallback(), TrainerState(max_steps=2)
    run(callback, state, 1)
    for _ in range(2):
        callback.on_prediction_step(ARGS, state, CONTROL, eval_dataloader=[1, 2, 3])
    assert (callback.prediction_bar.total, callback.prediction_bar.n, callback.prediction_bar.leave) == (3, 2, False)
    callback.on_evaluate(ARGS, state, CONTROL, metrics={})
    assert callback.prediction_bar is None
    assert callback.training_bar is not None
    callback.close()
    assert "evaluate" in capsys.readouterr().err


def test_an_evaluation_alone_leaves_its_bar_and_needs_no_length() -> None:
    callback = ProgressCallback()
    callback.on_prediction_step(ARGS, TrainerState(), CONTROL, eval_dataloader=iter([1]))
    assert (callback.prediction_bar.total, callback.prediction_bar.leave) == (None, True)
    callback.on_log(ARGS, TrainerState(), CONTROL, logs={"eval_loss": 1.0})
    callback.on_predict(ARGS, TrainerState(), CONTROL, metrics={})
    assert callback.prediction_bar is None


def test_other_processes_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    state = TrainerState(max_steps=2, is_world_process_zero=False, is_local_process_zero=False)
    callback = ProgressCallback()
    run(callback, state, 1)
    callback.on_prediction_step(ARGS, state, CONTROL, eval_dataloader=[1])
    callback.on_log(ARGS, state, CONTROL, logs={"loss": 1.0})
    callback.on_evaluate(ARGS, state, CONTROL, metrics={})
    callback.on_train_end(ARGS, state, CONTROL)
    PrinterCallback().on_log(ARGS, state, CONTROL, logs={"loss": 1.0})
    assert capsys.readouterr() == ("", "")


def test_printer_prints_and_leaves_the_logs_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    logs: dict[str, Any] = {"loss": 0.123456, "step": 3, "total_flos": 1.0}
    PrinterCallback().on_log(ARGS, TrainerState(), CONTROL, logs=logs)
    assert capsys.readouterr().out == "{'loss': '0.1235', 'step': 3}\n"
    assert "total_flos" in logs


def test_long_text_is_cut() -> None:
    assert readable({"note": "x" * 10}, max_str_len=4) == {"note": "xxxx... (10 characters)"}
