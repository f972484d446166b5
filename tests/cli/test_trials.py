"""What a person sees of a search."""

from __future__ import annotations

import io
from pathlib import Path

import optuna
import pytest

from lt_trainer.args.check import MissingMetricError
from lt_trainer.cli.trials import TrialProgress, TrialTable, broken, objective_of, tell
from lt_trainer.outputs import BestRun
from lt_trainer.state import TrainerControl, TrainerState


def test_trials_are_told_once_in_columns_whatever_their_end() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, out = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), io.StringIO()
    table = TrialTable("eval_loss", out)
    for state, value in (("COMPLETE", 0.123456), ("PRUNED", None), ("FAIL", None)):
        trial = study.ask()
        trial.suggest_categorical("per_device_train_batch_size", [8])
        if state == "PRUNED":
            trial.report(2.0, 1)
        ended = study.tell(trial, value, optuna.trial.TrialState[state])
        table(study, ended)
    table(study)
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[:3] == [["per_device_"], ["train_batch_"], ["trial", "state", "seconds", "eval_loss", "size"]]
    assert [cells[:2] + cells[3:] for cells in lines[3:]] == [
        ["0", "complete", "0.1235", "8"],
        ["1", "pruned", "2", "8"],
        ["2", "fail", "8"],
    ]
    assert max(map(len, out.getvalue().splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("seed", ["seed"]),
        ("learning_rate", ["learning_rate"]),
        ("per_device_train_batch_size", ["per_device_", "train_batch_", "size"]),
    ],
)
def test_a_long_name_is_broken_at_its_underscores(name: str, lines: list[str]) -> None:
    assert broken(name) == lines
    assert "".join(lines) == name


def test_the_best_run_is_told_in_words() -> None:
    out = io.StringIO()
    tell(BestRun("3", 0.91, {"learning_rate": 0.00123456}), Path("my runs/run-3"), ("eval_f1", "maximize"), out)
    assert out.getvalue().splitlines()[1:] == [
        "best: trial 3 with the highest eval_f1, 0.91: learning_rate=0.001235",
        "its model and its configuration are in my runs/run-3",
        "to train it again: lt-trainer fit --config 'my runs/run-3/config.yaml' --output_dir 'my runs/best'",
    ]


def test_a_metric_that_is_not_there_ends_the_search_with_those_that_are() -> None:
    assert objective_of("eval_f1")({"eval_f1": 0.5}) == 0.5
    with pytest.raises(MissingMetricError, match="eval_f1"):
        objective_of("eval_f2")({"eval_f1": 0.5})


def test_bars_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    bars = TrialProgress()
    bars.on_train_begin(None, TrainerState(max_steps=2), TrainerControl())
    assert bars.training_bar.leave is False
    bars.on_prediction_step(None, TrainerState(), TrainerControl())
    assert bars.prediction_bar.leave is False
    bars.on_log(None, TrainerState(), TrainerControl(), logs={"loss": 0.5})
    assert bars.training_bar.postfix == "loss=0.5"
    bars.close()
    assert "0.5}" not in capsys.readouterr().err
