"""A space and the options of a search, read from plain values."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.search_options import PRUNERS, SAMPLERS, Draw, SearchOptions, Space, read_draw, wrong_backend

WHOLE = {"low": 1, "high": 5}


@pytest.mark.parametrize(
    ("name", "given", "draw"),
    [
        ("learning_rate", {"low": 1e-5, "high": 1e-3, "log": True}, Draw("float", 1e-5, 1e-3, log=True)),
        ("learning_rate", "1e-5..1e-3 log", Draw("float", 1e-5, 1e-3, log=True)),
        ("weight_decay", "0..0.1 step 0.05", Draw("float", 0, 0.1, step=0.05)),
        ("weight_decay", {"type": "float", "low": "0", "high": "0.1"}, Draw("float", 0, 0.1)),
        ("seed", WHOLE, Draw("int", 1, 5)),
        ("num_train_epochs", WHOLE, Draw("float", 1, 5)),
        ("num_train_epochs", {"type": "int", **WHOLE}, Draw("int", 1, 5)),
        ("per_device_train_batch_size", "8..64 step 8", Draw("int", 8, 64, step=8)),
        ("per_device_train_batch_size", [8, "16"], Draw("categorical", choices=(8, 16))),
        (
            "optim",
            {"type": "categorical", "choices": ["sgd", "adafactor"]},
            Draw("categorical", choices=("sgd", "adafactor")),
        ),
        ("bf16", [True, False], Draw("categorical", choices=(True, False))),
        ("seed", {"low": 3, "high": 3}, Draw("int", 3, 3)),
    ],
)
def test_the_long_and_the_short_form_say_the_same(name: str, given: Any, draw: Draw) -> None:
    assert read_draw(name, given) == draw


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("learning_rte", WHOLE, "learning_rte: is no argument of TrainingArguments; did you mean 'learning_rate'?"),
        ("output_dir", ["a"], "output_dir: is set by the search"),
        ("learning_rate", {"low": 1, "high": 0.5}, "learning_rate: low 1 is above high 0.5"),
        ("learning_rate", "0..1 log", "learning_rate: log with low 0.0: expected low above 0"),
        ("learning_rate", {"lo": 1, "high": 2}, "learning_rate: 'lo' is unknown: expected type, low"),
        ("learning_rate", {"high": 2}, "learning_rate.low=None: expected a number"),
        ("learning_rate", "-1..1", "learning_rate.low=-1.0: expected 0 or more"),
        ("learning_rate", "1e-5", "learning_rate: expected {low: 1e-5, high: 1e-3, log: true}, 1e-5..1e-3 log"),
        ("learning_rate", "1..2 lgo", "learning_rate: expected {low"),
        ("learning_rate", "1..2 step", "learning_rate: expected {low"),
        ("learning_rate", "1..2 log step 0.1", "learning_rate: log and step exclude each other"),
        ("learning_rate", "1..2 step 0", "learning_rate.step=0.0: expected above 0"),
        (
            "learning_rate",
            {"type": "flaot", **WHOLE},
            "learning_rate: type 'flaot': expected one of float, int, categorical; did you mean 'float'?",
        ),
        ("seed", {"low": 1.5, "high": 2}, "seed.low=1.5: expected a whole number"),
        ("seed", {"type": "float", **WHOLE}, "seed: type 'float': expected 'int', since it is int"),
        ("seed", {"choices": [1], "low": 1}, "seed: low beside choices"),
        ("seed", [], "seed: choices: expected a list of values, received []"),
        ("seed", [[1]], "seed: choice [1]: expected text, a number"),
        ("seed", [-3], "seed=-3: expected 0 to 2**32 - 1"),
        ("optim", "1..2", "optim: a range: expected choices"),
        ("lr_scheduler_type", ["linaer"], "did you mean 'linear'?"),
    ],
)
def test_what_cannot_be_drawn_is_told(name: str, given: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_draw(name, given)
    assert problem in caught.value.problems[0]


def test_every_problem_of_a_range_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_draw("learning_rate", {"low": "a", "high": -1, "log": "maybe"})
    assert len(caught.value.problems) == 3


def test_a_space_draws_from_a_trial() -> None:
    optuna = pytest.importorskip("optuna")
    space = Space(
        {
            name: read_draw(name, given)
            for name, given in (("learning_rate", "1e-5..1e-3 log"), ("seed", "2..8 step 2"), ("optim", ["sgd"]))
        }
    )
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    drawn = space(trial)
    assert 1e-5 <= drawn["learning_rate"] <= 1e-3
    assert drawn["seed"] in (2, 4, 6, 8)
    assert drawn["optim"] == "sgd"
    assert trial.distributions["learning_rate"] == optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)
    assert trial.distributions["seed"] == optuna.distributions.IntDistribution(2, 8, step=2)


def test_names_of_samplers_and_pruners_are_those_of_optuna() -> None:
    optuna = pytest.importorskip("optuna")
    assert all(hasattr(optuna.samplers, name) for name in SAMPLERS.values())
    assert all(hasattr(optuna.pruners, name) for name in PRUNERS.values())


@pytest.mark.parametrize(
    ("options", "settings", "goal"),
    [
        ({}, {}, ("eval_loss", "minimize")),
        ({}, {"metric_for_best_model": "accuracy"}, ("eval_accuracy", "maximize")),
        ({}, {"metric_for_best_model": "eval_wer", "greater_is_better": False}, ("eval_wer", "minimize")),
        ({"metric": "f1"}, {"metric_for_best_model": "wer", "greater_is_better": False}, ("eval_f1", "maximize")),
        ({"metric": "wer", "direction": "minimize"}, {}, ("eval_wer", "minimize")),
    ],
)
def test_the_goal_follows_from_the_metric(
    options: dict[str, str], settings: dict[str, Any], goal: tuple[str, str]
) -> None:
    assert SearchOptions(**options).goal(TrainingArguments("x", **settings)) == goal  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n_trials": 0}, "n_trials=0: expected 1 or more"),
        ({"timeout": -1}, "timeout=-1: expected above 0"),
        ({"sampler": "tpee"}, "sampler='tpee': expected one of 'tpe', 'random', 'cmaes', 'gp', 'qmc', 'nsgaii'"),
        ({"pruner": "medan"}, "did you mean 'median'?"),
        ({"direction": "minimise"}, "did you mean 'minimize'?"),
        ({"backend": "ray"}, "expected 'optuna', the only one here"),
        ({"pictures": "svg"}, "pictures='svg': expected one of 'png', 'html'"),
    ],
)
def test_options_that_cannot_be_are_told(options: dict[str, Any], problem: str) -> None:
    (found,) = SearchOptions(**options).problems()
    assert problem in found


def test_pictures_need_what_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert SearchOptions(pictures="png").problems() == [
        "pictures='png': expected matplotlib to draw them: pip install matplotlib"
    ]


def test_no_backend_and_optuna_are_right() -> None:
    assert wrong_backend(None) == wrong_backend("optuna") == []


def test_options_read_back_from_what_they_are_written_as() -> None:
    space = Space(
        {
            "learning_rate": Draw("float", 1e-5, 1e-3, log=True),
            "seed": Draw("int", 1, 9, step=2),
            "optim": Draw("categorical", choices=("sgd",)),
        }
    )
    written = SearchOptions(space=space, n_trials=3).as_dict()
    assert {name: read_draw(name, draw) for name, draw in written.pop("space").items()} == space.draws
    assert SearchOptions(**written) == SearchOptions(n_trials=3)


def test_reading_a_space_imports_neither_torch_nor_optuna() -> None:
    code = "import sys, lt_trainer.search_options; assert not {'torch', 'optuna', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
