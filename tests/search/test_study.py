"""Studies that outlive a process or are shared by several."""

from __future__ import annotations

import sqlite3

import optuna
import pytest

from lt_trainer import ConfigurationError
from lt_trainer.files import this_process
from tests.search.conftest import rates


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def shared(storage):
    return {"storage": storage, "study_name": "s", "load_if_exists": True}


def states(storage):
    return [trial.state.name for trial in optuna.load_study(study_name="s", storage=storage).trials]


def test_n_trials_is_a_total_over_restarts(build, shared, storage):
    build().hyperparameter_search(rates, n_trials=2, **shared)
    build().hyperparameter_search(rates, n_trials=3, **shared)
    assert states(storage) == ["COMPLETE"] * 3
    best = build().hyperparameter_search(rates, n_trials=3, **shared)
    assert states(storage) == ["COMPLETE"] * 3
    assert best.objective == min(t.value for t in best.run_summary.trials)


def dead(trial):
    """As a process leaves a trial that was killed."""
    place, _, start = this_process()
    trial.set_user_attr("lt_trainer:owner", [place, 2**22 + 1, start])


def test_the_trial_of_a_dead_process_goes_on_with_its_values(build, shared, storage):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    study = optuna.load_study(study_name="s", storage=storage)
    left = study.ask()
    dead(left)
    rate = left.suggest_categorical("learning_rate", [0.01, 0.02, 0.05, 0.1])
    build().hyperparameter_search(rates, n_trials=3, **shared)
    assert states(storage) == ["COMPLETE"] * 3
    assert study.trials[1].params == {"learning_rate": rate}


def test_a_trial_that_was_interrupted_goes_on_from_its_checkpoint(build, shared, storage, tmp_path):
    from lt_trainer import TrainerCallback

    class Interrupts(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise KeyboardInterrupt

    class Counts(TrainerCallback):
        steps = 0

        def on_step_end(self, args, state, control, **kwargs):
            Counts.steps += 1

    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        build(callbacks=[Interrupts()], **options).hyperparameter_search(rates, n_trials=1, **shared)
    assert states(storage) == ["RUNNING"]
    best = build(callbacks=[Counts()], **options).hyperparameter_search(rates, n_trials=1, **shared)
    assert states(storage) == ["COMPLETE"]
    assert Counts.steps == 2
    whole = build(output_dir=str(tmp_path / "whole"), **options).hyperparameter_search(
        lambda t: {"learning_rate": t.suggest_categorical("learning_rate", [best.hyperparameters["learning_rate"]])},
        n_trials=1,
    )
    assert whole.objective == best.objective


def test_trials_of_a_live_process_elsewhere_are_counted_and_not_touched(build, shared, storage, caplog):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    other = optuna.load_study(study_name="s", storage=storage).ask()
    other.set_user_attr("lt_trainer:owner", ["0" * 8, 1, 1])  # another host
    build().hyperparameter_search(rates, n_trials=3, **shared)
    assert states(storage) == ["COMPLETE", "RUNNING", "COMPLETE"]
    assert "trial 1 is not finished" in caplog.text


def test_trials_that_wait_in_the_study_come_first(build, shared, storage):
    study = optuna.create_study(study_name="s", storage=storage)
    study.enqueue_trial({"learning_rate": 0.05})
    best = build().hyperparameter_search(rates, n_trials=1, **shared)
    assert best.hyperparameters == {"learning_rate": 0.05}


def test_a_study_of_another_space_is_refused(build, shared, storage):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    with pytest.raises(ConfigurationError, match="'s' is of another space: seed is new; learning_rate is gone"):
        build().hyperparameter_search(lambda t: {"seed": t.suggest_int("seed", 1, 4)}, n_trials=2, **shared)
    other = build()
    with pytest.raises(ConfigurationError, match=r"learning_rate was .*0\.01.* and is .*0\.3"):
        other.hyperparameter_search(
            lambda t: {"learning_rate": t.suggest_categorical("learning_rate", [0.3])}, n_trials=2, **shared
        )
    assert states(storage) == ["COMPLETE"]


def test_a_study_with_another_direction_is_refused(build, shared):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    with pytest.raises(ConfigurationError, match=r"expected direction \['minimize'\], as it began"):
        build().hyperparameter_search(rates, n_trials=2, direction="maximize", **shared)


def test_a_study_that_is_there_is_not_gone_on_with_unasked(build, shared):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    with pytest.raises(FileExistsError, match="expected load_if_exists=True"):
        build().hyperparameter_search(rates, n_trials=1, **{**shared, "load_if_exists": False})


@pytest.mark.parametrize("address", ["sqlite:////no/such/folder/study.db", "sqlit:///study.db", "not an address"])
def test_a_storage_that_cannot_be_reached_is_named(build, address):
    with pytest.raises(ConnectionError) as caught:
        build().hyperparameter_search(rates, n_trials=1, storage=address)
    assert f"storage={address}: expected a database that can be opened" in str(caught.value)


def test_passwords_of_a_storage_are_not_told(build):
    with pytest.raises(ConnectionError) as caught:
        build().hyperparameter_search(rates, n_trials=1, storage="nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value)
    assert "nosuch://me:***@host/db" in str(caught.value)


def test_a_file_that_is_no_database_is_named(build, tmp_path):
    (tmp_path / "study.db").write_text("these are words" * 100)
    with pytest.raises(ConnectionError, match=r"study\.db"):
        build().hyperparameter_search(rates, n_trials=1, storage=f"sqlite:///{tmp_path}/study.db")


def test_the_lock_of_a_study_is_gone_afterwards(build, shared, tmp_path):
    build().hyperparameter_search(rates, n_trials=1, **shared)
    assert {path.name for path in tmp_path.iterdir()} == {"study.db", "out"}
    sqlite3.connect(tmp_path / "study.db").close()
