"""What a space draws, and what is compared of two."""

from __future__ import annotations

import optuna
import pytest

from lt_trainer import TrainingArguments
from lt_trainer.search.space import default_compute_objective, default_hp_space_optuna, difference, probe


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(output_dir=str(tmp_path))


def test_the_default_space_is_that_of_transformers():
    utils = pytest.importorskip("transformers.trainer_utils")
    ours, theirs = (optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask() for _ in range(2))
    assert default_hp_space_optuna(ours) == utils.default_hp_space_optuna(theirs)
    assert ours.distributions == theirs.distributions


@pytest.mark.parametrize(
    ("metrics", "objective"),
    [
        ({"eval_loss": 0.5, "epoch": 2.0, "eval_runtime": 3.0, "eval_samples_per_second": 9.0}, 0.5),
        ({"eval_loss": 0.5, "eval_f1": 0.25, "eval_accuracy": 0.5, "eval_steps_per_second": 9.0}, 0.75),
        ({"eval_f1": 0.0}, 0.0),
    ],
)
def test_the_default_objective_is_that_of_transformers(metrics, objective):
    assert default_compute_objective(dict(metrics)) == objective
    utils = pytest.importorskip("transformers.trainer_utils")
    assert utils.default_compute_objective(dict(metrics)) == objective


def test_an_evaluation_without_numbers_has_no_default_objective():
    with pytest.raises(ValueError, match="expected eval_loss or a metric, received"):
        default_compute_objective({"epoch": 1.0})


def test_a_probe_is_the_same_for_the_same_space_also_where_draws_decide_what_is_drawn(args):
    def space(trial):
        name = trial.suggest_categorical("optim", ["sgd", "adamw_torch"])
        values = {"optim": name, "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)}
        return values if name == "sgd" else {**values, "adam_beta1": trial.suggest_float("adam_beta1", 0.8, 0.9)}

    first = probe(space, args)
    assert {"optim", "learning_rate"} <= first.keys()
    assert difference(first, probe(space, args)) == ""


def test_a_probe_leaves_the_arguments_alone(args):
    before = args.to_dict()
    probe(default_hp_space_optuna, args)
    assert args.to_dict() == before


def test_differences_are_named():
    assert difference({"a": "1", "b": "2"}, {"a": "3", "c": "4"}) == "c is new; b is gone; a was 1 and is 3"
