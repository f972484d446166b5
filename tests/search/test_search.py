"""`hyperparameter_search` as users of `transformers` call it."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import optuna
import pytest
import torch
from safetensors.torch import load_file

from lt_trainer import BertConfig, BertForSequenceClassification, ConfigurationError, Trainer, TrainerCallback
from lt_trainer.tasks.text_classification import TextClassificationData
from lt_trainer.trainer_utils import BestRun, HPSearchBackend
from tests.search.conftest import Line, rates


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_trial_with_the_lowest_loss_is_the_best(build):
    trainer = build()
    best = trainer.hyperparameter_search(rates, n_trials=5, sampler=optuna.samplers.GridSampler(GRID))
    assert isinstance(best, BestRun)
    assert best.hyperparameters == {"learning_rate": 0.1}
    assert best.objective == pytest.approx(loss_after(2, 0.1))
    assert {t.params["learning_rate"]: t.value for t in best.run_summary.trials} == pytest.approx(
        {rate: loss_after(2, rate) for rate in GRID["learning_rate"]}
    )


GRID = {"learning_rate": [0.01, 0.02, 0.05, 0.1]}


def loss_after(steps, rate):
    """Rows (1, 2) and (2, 4), equally often: loss = 2.5 (w - 2)^2, so that a step scales w - 2 by 1 - 5 rate."""
    return 2.5 * (2 * (1 - 5 * rate) ** steps) ** 2


def test_direction_maximize_takes_the_highest(build):
    best = build().hyperparameter_search(rates, n_trials=4, direction="maximize", sampler=grid())
    assert best.hyperparameters == {"learning_rate": 0.01}


def grid():
    return optuna.samplers.GridSampler(GRID, seed=0)


def test_the_arguments_of_the_trainer_stay_as_they_were(build):
    trainer = build()
    args, before = trainer.args, trainer.args.to_dict()
    trainer.hyperparameter_search(rates, n_trials=2)
    assert trainer.args is args
    assert trainer.args.to_dict() == before


def test_each_trial_has_a_folder_and_the_best_alone_keeps_its_model(build, tmp_path):
    trainer = build(save_strategy="steps", save_steps=1)
    best = trainer.hyperparameter_search(rates, n_trials=4, sampler=grid())
    folders = {path.name: path for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert set(folders) == {f"run-{number}" for number in range(4)}
    weights = {name for name, path in folders.items() if list(path.rglob("model.safetensors"))}
    assert weights == {f"run-{best.run_id}"}
    saved = load_file(folders[f"run-{best.run_id}"] / "model.safetensors")["weight"]
    assert torch.equal(saved, trainer.model.weight)
    assert (saved - 2).item() == pytest.approx(-2 * 0.5**2)
    assert (folders[f"run-{best.run_id}"] / "checkpoint-2").is_dir()


def test_the_state_of_a_trial_names_it(build, tmp_path):
    build().hyperparameter_search(rates, n_trials=1, hp_name=lambda trial: f"trial_{trial.number}")
    state = json.loads((tmp_path / "out" / "trial_0" / "trainer_state.json").read_text())
    assert state["is_hyper_param_search"] is True
    assert state["trial_name"] == "trial_0"
    assert state["trial_params"].keys() == {"learning_rate"}


def test_the_default_objective_is_the_sum_of_the_metrics(build):
    trainer = build(compute_metrics=lambda p: {"a": 1.0, "b": 0.5})
    assert trainer.hyperparameter_search(rates, n_trials=1, direction="maximize").objective == 1.5


def test_compute_objective_gets_the_metrics(build):
    best = build().hyperparameter_search(rates, lambda metrics: -metrics["eval_loss"], 4, "maximize", sampler=grid())
    assert best.hyperparameters == {"learning_rate": 0.1}


def test_without_evaluations_in_training_one_follows_it(build):
    best = build(eval_strategy="no").hyperparameter_search(rates, n_trials=4, sampler=grid())
    assert best.objective == pytest.approx(loss_after(2, 0.1))


def test_with_load_best_model_at_end_the_objective_is_of_the_best_weights(build):
    def space(trial):  # too high: each step is worse than the one before
        return {"learning_rate": trial.suggest_categorical("learning_rate", [0.45])}

    options = {"max_steps": 3, "load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 1}
    trainer = build(**options)
    assert trainer.hyperparameter_search(space, n_trials=1).objective == pytest.approx(loss_after(1, 0.45))
    assert (trainer.model.weight - 2).item() == pytest.approx(-2 * (1 - 5 * 0.45))
    last = build(**{**options, "load_best_model_at_end": False}).hyperparameter_search(space, n_trials=1)
    assert last.objective == pytest.approx(loss_after(3, 0.45))


def test_the_same_seed_makes_the_same_search(build):
    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 0.1, log=True)}

    first, second = (build().hyperparameter_search(space, n_trials=3).run_summary.trials for _ in range(2))
    assert [t.params for t in first] == [t.params for t in second]
    assert len({t.params["learning_rate"] for t in first}) == 3


# ---- the model


def test_model_init_may_draw_too(build):
    def init(trial):
        model = Line()
        if trial is not None:
            model.weight.data.fill_(trial.suggest_categorical("start", [1.0]))
        return model

    best = build(model_init=init).hyperparameter_search(rates, n_trials=1)
    assert best.hyperparameters.keys() == {"learning_rate", "start"}
    assert best.objective == pytest.approx(loss_after(2, best.hyperparameters["learning_rate"]) / 4)


def test_no_model_is_alive_when_the_next_is_made(build):
    alive, made = [], []

    def init():
        alive.append(sum(reference() is not None for reference in made))
        model = Line()
        made.append(weakref.ref(model))
        if len(made) == 4:
            raise RuntimeError("broken")
        return model

    trainer = build(model_init=init, save_strategy="steps", save_steps=1)
    trainer.hyperparameter_search(rates, n_trials=5)
    assert len(alive) == 1 + 5 + 1  # the trainer's own, trials, the best
    assert alive == [0] * 7


def test_a_task_holds_no_model_beside_that_of_the_trial(build, tmp_path):
    alive, made = [], []
    rows = [{"text": "good", "label": 0}, {"text": "bad", "label": 1}] * 4
    data = TextClassificationData("scratch", train=rows, validation=rows)

    def init():
        alive.append(sum(reference() is not None for reference in made))
        config = BertConfig(vocab_size=data.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        made.append(weakref.ref(model := BertForSequenceClassification(config)))
        return model

    args = build().args
    trainer = Trainer(model_init=init, args=args, task="text-classification", data=data)
    del alive[1:], made[:-1]  # the task's own first model made way for the trainer's
    best = trainer.hyperparameter_search(rates, n_trials=2)
    assert alive[1:] == [0] * 3
    assert trainer.task.model is trainer.model
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
    assert best.run_id in ("0", "1")


def test_a_search_needs_model_init(build):
    trainer = build()
    with pytest.raises(RuntimeError, match=r"expected Trainer\(model_init=...\)"):
        Trainer(model=Line(), args=trainer.args, eval_dataset=[]).hyperparameter_search(rates)


# ---- pruning


class ReportsAll(TrainerCallback):
    def __init__(self):
        self.steps, self.ended = [], 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.ended += 1


def test_each_evaluation_is_reported_and_a_hopeless_trial_is_pruned(build):
    seen = ReportsAll()
    trainer = build(max_steps=4, callbacks=[seen])
    study = trainer.hyperparameter_search(
        lambda t: {"learning_rate": [0.1, 0.01][t.suggest_int("n", 0, 0) or t.number % 2]},
        n_trials=2,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2),
    ).run_summary
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED"]
    assert study.trials[0].intermediate_values == pytest.approx({n: loss_after(n, 0.1) for n in (1, 2, 3, 4)})
    assert study.trials[1].intermediate_values == pytest.approx({n: loss_after(n, 0.01) for n in (1, 2)})
    assert seen.steps == [1, 2, 3, 4, 1, 2]
    assert seen.ended == 2


def test_a_callback_may_prune_by_itself(build):
    class Prunes(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if args.learning_rate == 0.1:
                raise optuna.TrialPruned

    study = build(callbacks=[Prunes()]).hyperparameter_search(rates, n_trials=4, sampler=grid()).run_summary
    assert {t.params["learning_rate"]: t.state.name for t in study.trials} == {
        0.01: "COMPLETE",
        0.02: "COMPLETE",
        0.05: "COMPLETE",
        0.1: "PRUNED",
    }


def test_several_objectives_give_each_run_that_no_other_beats(build):
    best = build().hyperparameter_search(
        rates,
        lambda metrics: [metrics["eval_loss"], -metrics["eval_loss"]],
        n_trials=3,
        direction=["minimize", "minimize"],
        sampler=grid(),
    )
    assert len(best) == 3
    assert all(run.objective == [pytest.approx(-run.objective[1]), run.objective[1]] for run in best)


# ---- failures


def test_a_broken_trial_is_counted_and_passed_over(build, caplog):
    def objective(metrics):
        if metrics["eval_loss"] < 1:
            raise ArithmeticError("too good")
        return metrics["eval_loss"]

    best = build().hyperparameter_search(rates, objective, n_trials=4, sampler=grid())
    states = {t.params["learning_rate"]: t.state.name for t in best.run_summary.trials}
    assert states[0.1] == "FAIL"
    assert list(states.values()).count("COMPLETE") == 3
    assert "failed: ArithmeticError: too good" in caplog.text
    assert best.hyperparameters == {"learning_rate": 0.05}


def test_where_all_trials_fail_the_error_says_why(build):
    def init(trial):
        if trial is not None:
            raise ValueError("no such layer")
        return Line()

    with pytest.raises(RuntimeError, match=r"received none of 2: 2 failed: trial 0: ValueError: no such layer"):
        build(model_init=init).hyperparameter_search(rates, n_trials=2)


def test_an_objective_that_is_not_finite_fails_the_trial(build):
    with pytest.raises(RuntimeError, match="the objective is nan: expected finite numbers"):
        build().hyperparameter_search(rates, lambda metrics: float("nan"), n_trials=1)


def test_catch_names_the_errors_that_are_passed_over(build):
    def init(trial):
        if trial is not None:
            raise LookupError("gone")
        return Line()

    trainer = build(model_init=init)
    with pytest.raises(LookupError, match="gone"):
        trainer.hyperparameter_search(rates, n_trials=2, catch=(ArithmeticError,))
    assert trainer.args.output_dir.endswith("out")


def test_a_value_out_of_range_in_one_trial_does_not_end_the_search(build):
    def space(trial):
        trial.suggest_int("n", 0, 0)
        return {"per_device_train_batch_size": -1 if trial.number == 1 else 4}

    study = build().hyperparameter_search(space, n_trials=3).run_summary
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]


# ---- bad input, before the first trial


def refuses(build, message, **options):
    trainer, before = build(), Trainer.train
    calls = []
    trainer.train = lambda *a, **k: calls.append(1) or before(trainer, *a, **k)
    with pytest.raises(ConfigurationError) as caught:
        trainer.hyperparameter_search(**{"hp_space": rates, "n_trials": 1, **options})
    assert message in str(caught.value)
    assert not calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "ray"}, "backend='ray': expected 'optuna', the only one here"),
        ({"backend": "optna"}, "backend='optna': expected 'optuna'; did you mean 'optuna'?"),
        ({"direction": "maximise"}, "direction='maximise': expected one of ('minimize', 'maximize'); did you mean"),
        ({"n_trials": 0}, "n_trials=0: expected a whole number, 1 or more"),
        ({"n_jobs": 2}, "n_jobs=2: expected 1"),
        ({"prunner": None}, "hyperparameter_search(prunner=...)"),
        ({"sampler": "tpee"}, "sampler='tpee': expected one of tpe, random"),
        ({"hp_space": lambda trial: {"learning_rte": 1.0}}, "did you mean 'learning_rate'?"),
        ({"hp_space": lambda trial: None}, "expected a dict of argument -> value, received None"),
        ({"hp_space": lambda trial: {"output_dir": "x"}}, "'output_dir' is set by the search"),
        ({"hp_space": lambda trial: {"learning_rate": -1.0}}, "learning_rate=-1.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_the_first_trial(build, options, message):
    refuses(build, message, **options)


def test_backends_may_be_members_of_the_enumeration(build):
    assert build().hyperparameter_search(rates, n_trials=1, backend=HPSearchBackend.OPTUNA).run_id == "0"


def test_without_evaluation_data_nothing_is_searched(build):
    trainer = build(eval_strategy="no")
    trainer.eval_dataset = None
    with pytest.raises(ConfigurationError, match="eval_dataset"):
        trainer.hyperparameter_search(rates)


def test_memory_does_not_grow_with_trials(build):
    trainer = build(eval_strategy="no", max_steps=1)
    trainer.hyperparameter_search(rates, n_trials=2)
    gc.collect()
    before = len(gc.get_objects())
    trainer.hyperparameter_search(rates, n_trials=10)
    gc.collect()
    assert len(gc.get_objects()) - before < 10 * 300  # records of ten trials, no engine


def test_a_sampler_with_an_end_ends_the_search(build):
    study = build().hyperparameter_search(rates, n_trials=10, sampler=grid()).run_summary
    assert sorted(t.params["learning_rate"] for t in study.trials) == GRID["learning_rate"]
    study.optimize(lambda trial: 1.0, n_trials=1)  # the study is free again


def test_timeout_begins_no_further_trial(build):
    best = build().hyperparameter_search(rates, n_trials=10**6, timeout=0.5)
    assert len(best.run_summary.trials) < 1000


def test_names_of_folders_stay_inside_the_output_folder(build, tmp_path):
    with pytest.raises(RuntimeError, match="received none of 1"):
        build().hyperparameter_search(rates, n_trials=1, hp_name=lambda trial: "../elsewhere")
    assert not Path(tmp_path / "elsewhere").exists()
