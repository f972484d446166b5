"""Runs trials: the first process asks, tells and decides; all of them train.

The order of a search::

    claim               process 0: a trial of the study that nobody runs                    (study.py)
    space               process 0: draws arguments; every process gets them
    release             the model before and all that holds it are freed
    train               with the arguments set on a copy, in output_dir/run-<number>
        watch           after each evaluation, process 0: objective, report, pruned or not; all processes stop together
    save                the model, where it is the best so far
    tell                process 0: complete, pruned or failed; weights of beaten trials are removed
"""

from __future__ import annotations

import copy
import logging
import math
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import MissingMetricError
from lt_trainer.callbacks.base import TrainerCallback
from lt_trainer.files import safe_join
from lt_trainer.outputs import BestRun
from lt_trainer.search.space import drawn, takes_trial
from lt_trainer.search.study import FOLDER, SharedStudy
from lt_trainer.search.weights import Best, discard_weights, load_best, newest_checkpoint, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.drivers import Driver
    from lt_trainer.search.study import StudyOptions
    from lt_trainer.state import TrainerControl, TrainerState
    from lt_trainer.trainer import Trainer

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between looks at trials that other processes are finishing


class NoCompleteTrialError(RuntimeError):
    """A search without a result: every trial failed or was pruned."""


@dataclass(frozen=True)
class Turn:
    """What every process knows of a trial; `number` None: nothing to run, wait for others or (`over`) stop."""

    number: int | None = None
    over: bool = False
    name: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None
    ended: Outcome | None = None  # by the space, before it could begin


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: str
    values: tuple[float, ...] | None = None
    error: str | None = None


class Watch(TrainerCallback):
    """Follows the evaluations of one trial.

    Args:
        search: the search.
        turn: the trial.
        trial: to report to, on process 0.
    """

    def __init__(self, search: Search, turn: Turn, trial: optuna.Trial | None) -> None:
        self.search, self.turn, self.trial = search, turn, trial
        self.last: tuple[float, ...] | None = None
        self.best: tuple[float, ...] | None = None
        self.pruned = False

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl | None:
        """Notes the trial in the state, for callbacks and trainer_state.json."""
        state.is_hyper_param_search, state.trial_name = True, self.turn.name
        state.trial_params = dict(self.turn.params)
        return None

    def evaluated(self, metrics: Mapping[str, float], step: int, *, is_best: bool) -> bool:
        """Takes in an evaluation; whether the trial is to end here."""
        self.last, self.pruned = self.search.driver.first(lambda: self._report(metrics, step))
        if is_best:
            self.best = self.last
        return self.pruned

    def _report(self, metrics: Mapping[str, float], step: int) -> tuple[tuple[float, ...], bool]:
        values = self.search.measure(metrics)
        if self.trial is None or len(values) > 1:  # Optuna prunes by one objective alone
            return values, False
        self.trial.report(values[0], step)
        return values, self.trial.should_prune()

    def outcome(self, facade: Trainer) -> Outcome:
        """What the trained model comes to: the objective of its best weights where those were loaded, else the last."""
        if self.pruned:
            return Outcome("PRUNED")
        values = self.best if facade.args.load_best_model_at_end else self.last
        if values is None:
            metrics = facade.evaluate()
            values = self.search.driver.first(lambda: self.search.measure(metrics))
        if not all(map(math.isfinite, values)):
            return Outcome("FAIL", error=f"the objective is {', '.join(map(str, values))}: expected finite numbers")
        return Outcome("COMPLETE", values)


@dataclass
class Search:
    """A search, on each of its processes.

    Attributes:
        facade: the trainer.
        driver: of its processes.
        options: of the study.
        directions: one an objective.
        space: draws arguments.
        objective: metrics -> a number, or one for each direction.
        n_trials: in the study.
        timeout: seconds after which no further trial begins.
        catch: errors that end a trial and not the search.
        hp_name: trial -> name of its folder.
        callbacks: (study, trial) -> None, after each trial of this process; `study.stop()` in one ends the search.
    """

    facade: Trainer
    driver: Driver
    options: StudyOptions
    directions: list[str]
    space: Callable[[Any], Mapping[str, Any]]
    objective: Callable[[dict[str, float]], Any]
    n_trials: int
    timeout: float | None
    catch: type[Exception] | tuple[type[Exception], ...]
    hp_name: Callable[[Any], str] | None
    callbacks: Sequence[Callable[[optuna.Study, FrozenTrial], None]] = ()
    _study: SharedStudy | None = None  # on process 0
    _trial: optuna.Trial | None = None  # likewise
    _began: float = 0.0

    def __post_init__(self) -> None:
        self._args: TrainingArguments = self.facade.args

    def run(self, found: Mapping[str, str]) -> list[BestRun]:
        """Runs trials until none is left: where others still run some, waits, since one may be left to this process.

        Args:
            found: what `probe` found of the space.

        Raises:
            NoCompleteTrialError: every trial failed or was pruned.
        """
        self._began = time.monotonic()
        self.driver.first(lambda: self._open(found))
        with nullcontext() if self._study is None else self._study.running():
            while not (turn := self.driver.first(self._next)).over:
                if turn.number is None:
                    time.sleep(POLL_SECONDS)
                else:
                    self._run(turn)
        best = self.driver.first(self._best)
        load_best(self.facade, best[0])
        study = None if self._study is None else self._study.study
        return [BestRun(str(run.number), run.objective, dict(run.params), study) for run in best]

    def measure(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The objective as a tuple.

        Raises:
            ValueError: not as many numbers as there are directions.
        """
        found = self.objective(dict(metrics))
        values = tuple(map(float, found)) if isinstance(found, list | tuple) else (float(found),)
        if len(values) != (count := len(self.directions)):
            raise ValueError(
                f"compute_objective: expected {count} number(s), one for each direction, received {found!r}: return as "
                "many, or name another direction"
            )
        return values

    # ---- process 0

    def _open(self, found: Mapping[str, str]) -> None:
        self._study = SharedStudy(self.options, self.directions, found, self._args)

    def _next(self) -> Turn:
        assert self._study is not None
        is_late = self.timeout is not None and time.monotonic() - self._began >= self.timeout
        if is_late or self._study.is_stopped:
            return Turn(over=True)
        claimed = self._study.claim(self.n_trials)
        if claimed is None:
            return Turn(over=not self._study.others())
        self._trial, resumed = claimed
        return self._drawn(self._trial, resumed)

    def _drawn(self, trial: optuna.Trial, resumed: bool) -> Turn:
        import optuna

        values: Mapping[str, Any] = {}
        name, ended, resume = f"run-{trial.number}", None, None
        try:
            values = drawn(self.space, trial, self._args)
            if self.driver.world_size > 1 and takes_trial(self.facade.model_init):  # type: ignore[arg-type]
                release(self.facade)
                self.facade.call_model_init(trial)  # what it draws, the other processes have to know
            name = self.hp_name(trial) if self.hp_name is not None else name
            folder = safe_join(Path(str(self._args.output_dir)), name)
            trial.set_user_attr(FOLDER, name)
            resume = newest_checkpoint(folder) if resumed else None
            if resume is None:
                discard_weights(folder)  # of an earlier search in the same place
        except optuna.TrialPruned:
            ended = Outcome("PRUNED")
        except self.catch as error:
            ended = Outcome("FAIL", error=_told(error))
        return Turn(trial.number, False, name, dict(trial.params), values, resume, ended)

    def _tell(self, outcome: Outcome) -> None:
        assert self._study is not None
        assert self._trial is not None
        ended = self._study.tell(self._trial, outcome.state, outcome.values, outcome.error)
        for trial in self._study.beaten():
            if isinstance(name := trial.user_attrs.get(FOLDER), str):
                discard_weights(safe_join(Path(str(self._args.output_dir)), name))
        for callback in self.callbacks:
            callback(self._study.study, ended)

    def _best(self) -> list[Best]:
        assert self._study is not None
        best = self._study.best()
        if not best:
            failures = self._study.failures()
            why = f"{len(failures)} failed: {'; '.join(failures[-3:])}" if failures else "all were pruned"
            raise NoCompleteTrialError(
                f"hyperparameter_search: expected a complete trial, received none of {self.n_trials}: {why}; mend what "
                "they say, and take another study_name where the study has a storage"
            )
        single = len(self.directions) == 1
        return [
            Best(t.number, t.values[0] if single else list(t.values), t.params, t.user_attrs.get(FOLDER, ""))
            for t in best
        ]

    # ---- every process

    def _run(self, turn: Turn) -> None:
        with self._arguments_of(turn):
            outcome = turn.ended or self._agreed(self._train(turn))
            if outcome.values is not None and self.driver.first(lambda: self._is_best(outcome)):
                self._save(turn)
            if outcome.error is not None:
                logger.warning("%s failed: %s", turn.name, outcome.error)
            else:
                logger.info("%s: %s %s with %s", turn.name, outcome.state.lower(), outcome.values, turn.params)
        self.driver.first(lambda: self._tell(outcome))

    def _train(self, turn: Turn) -> Outcome:
        import optuna

        facade, trial = self.facade, self._trial
        watch = Watch(self, turn, trial)
        release(facade)
        facade.trial_watch = watch
        facade.callback_handler.callbacks.insert(0, watch)
        try:
            facade.args.assign(**turn.values)
            facade.train(turn.resume, trial or optuna.trial.FixedTrial(dict(turn.params), turn.number or 0))
            return watch.outcome(facade)
        except optuna.TrialPruned:
            return Outcome("PRUNED")
        except MissingMetricError:  # as in every other trial
            raise
        except self.catch as error:
            return Outcome("FAIL", error=_told(error))
        finally:
            facade.remove_callback(watch)
            facade.trial_watch = None

    def _agreed(self, mine: Outcome) -> Outcome:
        """What the first process says; a trial that failed anywhere has failed."""
        outcomes = self.driver.gather(mine)
        failed = [outcome for outcome in outcomes if outcome.state == "FAIL"]
        first: Outcome = outcomes[0]
        return first if first.state != "COMPLETE" or not failed else failed[0]

    def _is_best(self, outcome: Outcome) -> bool:
        assert self._study is not None
        return self._study.is_best(outcome.values or ())

    def _save(self, turn: Turn) -> None:
        try:
            self.facade.save_model()
            self.facade.save_state()
        except OSError as error:
            logger.error("the model of %s, the best so far, could not be saved: %s", turn.name, error)

    @contextmanager
    def _arguments_of(self, turn: Turn) -> Iterator[None]:
        """The trainer has a copy of its arguments in the meantime, with folders of the trial's own."""
        args = copy.copy(self._args)
        folder = str(Path(str(args.output_dir)) / turn.name)
        own_logs = args.logging_dir in (None, f"{args.output_dir}/runs")
        args.logging_dir = f"{folder}/runs" if own_logs else f"{args.logging_dir}/{turn.name}"
        args.output_dir, args.resume_from_checkpoint = folder, None
        self.facade.args = args
        try:
            yield
        finally:
            self.facade.args = self._args


def _told(error: BaseException) -> str:
    """An error as text: as an object it would keep its frames, and with them the model, alive."""
    return f"{type(error).__name__}: {error}"
