"""Hyperparameter search with Optuna: `trainer.hyperparameter_search(...)`.

space.py draws and checks, study.py opens a study and deals out its trials, trials.py runs them (the order of a search
stands at its head), weights.py frees and keeps models, pictures.py draws how it went.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lt_trainer.args.check import near, raise_if
from lt_trainer.overrides import is_overridden
from lt_trainer.search.joined import joined
from lt_trainer.search.pictures import save_pictures as save_pictures
from lt_trainer.search.space import default_compute_objective as default_compute_objective
from lt_trainer.search.space import default_hp_space_optuna as default_hp_space_optuna
from lt_trainer.search.space import probe
from lt_trainer.search.study import StudyOptions, unknown_options
from lt_trainer.search.trials import Search, Watch
from lt_trainer.search_options import DIRECTIONS, wrong_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from lt_trainer.outputs import BestRun
    from lt_trainer.trainer import Trainer

STUDY_OPTIONS = ("storage", "study_name", "load_if_exists", "sampler", "pruner")  # of optuna.create_study
OPTIONS = (*STUDY_OPTIONS, "timeout", "n_jobs", "gc_after_trial", "catch", "callbacks")  # of Study.optimize


class Searchable:
    """The part of a trainer that searches."""

    trial_watch: Watch | None = None

    def take_model(self, model: nn.Module) -> None:
        """Gives a new model to all who hold the one before."""
        facade = cast("Trainer", self)
        facade.model = facade.callback_handler.model = model
        if facade.task is not None:
            facade.task.model = model

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], Mapping[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], Any] | None = None,
        n_trials: int = 20,
        direction: str | Sequence[str] = "minimize",
        backend: str | None = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> BestRun | list[BestRun]:
        """Trains with different arguments, a trial after another, and returns the best.

        Each trial has a folder of its own, `output_dir/run-<number>`. Afterwards the trainer holds the best trial's
        model, which stands in that folder too (`from_pretrained` loads it); weights of the others are removed. A trial
        that fails is noted and passed over. `args` stay as they were.

        Args:
            hp_space: trial -> dict of arguments, drawn by `trial.suggest_...`; None: `default_hp_space_optuna`.
            compute_objective: metrics of an evaluation -> a number, or one for each direction; None: the sum of the
                metrics, or the loss where there are none.
            n_trials: trials in the study: over restarts, and over all processes that share it.
            direction: "minimize" or "maximize"; a list for several objectives, then nothing is pruned.
            backend: "optuna" or None.
            hp_name: trial -> name of its folder.
            kwargs: `storage` (an address such as "sqlite:///study.db", or an object), `study_name`, `load_if_exists`,
                `sampler` and `pruner` (objects, or names of SAMPLERS and PRUNERS; TPE, seeded by `args.seed`, and the
                median), `timeout` in seconds, after which no trial begins, `catch` (errors that end a trial alone;
                Exception), `callbacks` (called with study and trial after each of process 0), `n_jobs` (1),
                `gc_after_trial` (memory is always freed).

        Returns:
            The best run, its `run_summary` the study on process 0; with several objectives each that no other beats.

        Raises:
            RuntimeError: there is no `model_init`; or no trial was complete (tells why).
            ValueError: another backend, or no evaluation data.
            ConfigurationError: options or a space that cannot be, or a study of another space.
            FileExistsError: a study of that name is there, and `load_if_exists` is not set.
            ConnectionError: the storage cannot be reached.
        """
        facade = cast("Trainer", self)
        directions = [direction] if isinstance(direction, str) else list(direction)
        _check(facade, n_trials, directions, backend, kwargs)
        space = default_hp_space_optuna if hp_space is None else hp_space
        found = probe(space, facade.args)
        search = Search(
            facade,
            joined(facade),
            StudyOptions(**{name: value for name, value in kwargs.items() if name in STUDY_OPTIONS}),
            directions,
            space,
            compute_objective or default_compute_objective,
            n_trials,
            kwargs.get("timeout"),
            kwargs.get("catch", Exception) or (),
            hp_name,
            kwargs.get("callbacks") or (),
        )
        runs = search.run(found)
        return runs[0] if isinstance(direction, str) else runs


def _check(facade: Trainer, n_trials: int, directions: Sequence[str], backend: Any, options: Mapping[str, Any]) -> None:
    """Everything that needs no study.

    Raises:
        RuntimeError: there is no `model_init`.
        ConfigurationError: options that cannot be, all of them.
    """
    if facade.model_init is None:
        raise RuntimeError(
            "hyperparameter_search: expected Trainer(model_init=...), which makes a new model for each trial, received "
            "model=: pass a function that returns the model"
        )
    problems = wrong_backend(getattr(backend, "value", backend))
    if isinstance(n_trials, bool) or not isinstance(n_trials, int) or n_trials < 1:
        problems.append(f"n_trials={n_trials!r}: expected a whole number, 1 or more: the trials of the study in all")
    problems += [
        f"direction={value!r}: expected one of {DIRECTIONS}{near(value, DIRECTIONS)}"
        for value in directions or [""]
        if value not in DIRECTIONS
    ]
    problems += unknown_options([option for option in options if option not in OPTIONS], OPTIONS)
    if options.get("n_jobs", 1) != 1:
        problems.append(
            f"n_jobs={options['n_jobs']!r}: expected 1, since trials in threads would share the random state: start "
            "the script several times with one storage='sqlite:///study.db', a study_name and load_if_exists=True"
        )
    if facade.eval_dataset is None and not is_overridden(facade, "get_eval_dataloader"):
        problems.append(
            "hyperparameter_search: expected Trainer(eval_dataset=...), which trials are judged by; pass it"
        )
    raise_if(problems)
