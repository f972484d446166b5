"""The study: opened or gone on with, and its trials dealt out, each to one process and none twice.

`n_trials` is the number of trials in the study, over all processes that share it and over restarts. Optuna alone counts
what a call has done (https://github.com/optuna/optuna/issues/1417). Here a claim is made under a lock of the system
(lt_trainer/files/lock.py), and a trial carries the identity of the process that runs it: one whose process is dead is
taken over, with the values that it had, by whoever asks next.
"""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, near
from lt_trainer.files import FolderLock, is_running, make_folder, this_process
from lt_trainer.search.space import difference
from lt_trainer.search_options import PRUNERS, SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from lt_trainer.args.fields import TrainingArguments

logger = logging.getLogger(__name__)

OWNER, SPACE, FOLDER, ERROR = (f"lt_trainer:{name}" for name in ("owner", "space", "folder", "error"))
BARE_SECONDS = 60.0  # after which a trial that has neither owner nor values is taken for abandoned
PATIENCE = 600.0  # seconds that a claim, which takes milliseconds, waits for those of others


@dataclass(frozen=True)
class StudyOptions:
    """What `optuna.create_study` takes; samplers and pruners also by name (SAMPLERS, PRUNERS)."""

    storage: Any = None
    study_name: str | None = None
    load_if_exists: bool = False
    sampler: Any = None
    pruner: Any = None


class SharedStudy:
    """A study that other processes may share.

    Args:
        options: how to open it.
        directions: "minimize" or "maximize", one an objective.
        space: what `probe` found.
        args: of the trainer; the seed of the default sampler, and the folder of the lock where the storage has no file.

    Raises:
        ConfigurationError: a study of another space or other directions; a sampler that does not exist.
        FileExistsError: there is one of that name, and `load_if_exists` does not say to go on with it.
        ConnectionError: the storage cannot be reached.
    """

    def __init__(
        self, options: StudyOptions, directions: Sequence[str], space: Mapping[str, str], args: TrainingArguments
    ) -> None:
        self.seed = args.seed
        self._sampler = "tpe" if options.sampler is None else options.sampler
        self._mine: set[int] = set()  # trials that this object runs
        self._lock = None if options.storage is None else _lock_of(options.storage, Path(str(args.output_dir)))
        with self._locked():
            self.study = _open(options, directions)
            self._check_same(directions, space)

    def _check_same(self, directions: Sequence[str], space: Mapping[str, str]) -> None:
        name, attributes = self.study.study_name, self.study.user_attrs
        found = [direction.name.lower() for direction in self.study.directions]
        problems = []
        if found != list(directions):
            problems.append(f"study {name!r}: expected direction {found}, as it began, received {list(directions)}")
        if changed := difference(json.loads(attributes[SPACE]), space) if SPACE in attributes else "":
            problems.append(f"study {name!r} is of another space: {changed}")
        if problems:
            raise ConfigurationError([f"{p}; take it as it was, or another study_name" for p in problems])
        if SPACE not in attributes:
            self.study.set_user_attr(SPACE, json.dumps(space))

    # ---- trials

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wraps all trials: samplers with an end, such as a grid, and callbacks may call `study.stop()` inside.

        Optuna allows that in its own loop alone, which the two private names stand for.
        """
        self.study._thread_local.in_optimize_loop, self.study._stop_flag = True, False
        try:
            yield
        finally:
            self.study._thread_local.in_optimize_loop = False

    @property
    def is_stopped(self) -> bool:
        """Whether `study.stop()` was called."""
        return bool(self.study._stop_flag)

    def claim(self, n_trials: int) -> tuple[optuna.Trial, bool] | None:
        """The next trial for this process, and whether it goes on with one that a dead process left.

        Returns:
            None where all `n_trials` are taken.
        """
        import optuna

        with self._locked():
            trials = self._trials()
            for trial in trials:
                if trial.state.name == "RUNNING" and self._is_abandoned(trial):
                    logger.warning("trial %d: its process is gone; it goes on here", trial.number)
                    return self._own(optuna.Trial(self.study, trial._trial_id)), True
            waiting = sum(trial.state.name == "WAITING" for trial in trials)
            if len(trials) - waiting >= n_trials:
                return None
            if isinstance(self._sampler, str):  # other draws in each process, the same ones in each run
                self.study.sampler = _sampler(self._sampler, self.seed, len(trials) - waiting)
            return self._own(self.study.ask()), False

    def _own(self, trial: optuna.Trial) -> optuna.Trial:
        trial.set_user_attr(OWNER, this_process())
        self._mine.add(trial.number)
        return trial

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner is None:  # of a process that was killed while it claimed it, or that runs the study by optuna alone
            return self._is_bare(trial) and time.time() - _start_of(trial) > BARE_SECONDS
        if tuple(owner) == this_process():  # of a search before, in the same process, that was interrupted
            return trial.number not in self._mine
        return is_running(*owner) is False

    @staticmethod
    def _is_bare(trial: FrozenTrial) -> bool:
        """Whether a trial has neither owner nor values."""
        return OWNER not in trial.user_attrs and not trial.params

    def others(self) -> list[int]:
        """Numbers of trials that end, or are left to be taken over, on this machine."""
        running = [t for t in self._trials() if t.state.name == "RUNNING" and t.number not in self._mine]
        known = [
            t
            for t in running
            if self._is_bare(t) or (OWNER in t.user_attrs and is_running(*t.user_attrs[OWNER]) is not None)
        ]
        for trial in (t for t in running if t not in known):
            logger.warning(
                "trial %d is not finished, and runs where nobody here can tell whether it lives", trial.number
            )
        return [trial.number for trial in known]

    def tell(self, trial: optuna.Trial, state: str, values: Sequence[float] | None, error: str | None) -> FrozenTrial:
        """Ends a trial, and returns it as the study has it.

        Args:
            trial: a claimed one.
            state: "COMPLETE", "PRUNED" or "FAIL".
            values: one an objective; of complete trials.
            error: of failed ones, kept with them.
        """
        import optuna

        if error is not None:
            trial.set_user_attr(ERROR, error)
        ended = self.study.tell(trial, values=values, state=optuna.trial.TrialState[state])
        self._mine.discard(trial.number)
        return ended

    # ---- results

    def best(self) -> list[FrozenTrial]:
        """The best complete trial; of several objectives, all that no other beats; none where none is complete."""
        if len(self.study.directions) > 1:
            return list(self.study.best_trials)
        done = [trial for trial in self._trials() if trial.state.name == "COMPLETE"]
        sign = -1.0 if self.study.directions[0].name == "MAXIMIZE" else 1.0
        return [min(done, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))] if done else []

    def is_best(self, values: Sequence[float]) -> bool:
        """Whether these values beat the best; with several objectives that is known when they are told."""
        best = self.best()
        if len(values) > 1 or not best:
            return True
        before = float(best[0].value or 0.0)
        return values[0] > before if self.study.directions[0].name == "MAXIMIZE" else values[0] < before

    def beaten(self) -> list[FrozenTrial]:
        """Finished trials that are not the best."""
        best = {trial.number for trial in self.best()}
        return [trial for trial in self._trials() if trial.state.is_finished() and trial.number not in best]

    def failures(self) -> list[str]:
        """What ended each failed trial."""
        failed = [trial for trial in self._trials() if trial.state.name == "FAIL"]
        return [f"trial {t.number}: {t.user_attrs.get(ERROR, 'ended by another program')}" for t in failed]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._lock.acquire()
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        try:
            yield
        finally:
            self._lock.release()


def _lock_of(storage: Any, output_dir: Path) -> FolderLock:
    """Beside the file of an SQLite database; else in `output_dir`, which the processes then have to share."""
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", _url(storage) or "")
    if file and ":memory:" not in file[1] and Path(file[1]).parent.is_dir():
        return FolderLock(Path(file[1]).parent, name=f".{Path(file[1]).name}.lock")
    return FolderLock(make_folder(output_dir), name=".search.lock")


def _start_of(trial: FrozenTrial) -> float:
    return 0.0 if trial.datetime_start is None else trial.datetime_start.timestamp()


def _open(options: StudyOptions, directions: Sequence[str]) -> optuna.Study:
    import optuna

    named = isinstance(options.sampler, str)
    check_name("sampler", options.sampler, SAMPLERS)
    check_name("pruner", options.pruner, PRUNERS)
    pruner = "median" if options.pruner is None else options.pruner
    made = getattr(optuna.pruners, PRUNERS[pruner])() if isinstance(pruner, str) else pruner
    try:
        return optuna.create_study(
            storage=_storage(options.storage),
            sampler=None if named else options.sampler,
            pruner=made,
            study_name=options.study_name,
            directions=[optuna.study.StudyDirection[direction.upper()] for direction in directions],
            load_if_exists=options.load_if_exists,
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise FileExistsError(
            f"study {options.study_name!r} is in {_shown(options.storage)} already: expected load_if_exists=True to go "
            "on with it, or another study_name"
        ) from error
    except Exception as error:
        if options.storage is None:
            raise
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"storage={_shown(options.storage)}: expected a database that can be opened, such as sqlite:///study.db, "
            f"received {type(error).__name__}: {reason}; check the address, and that the folder or the server is there"
        ) from error


def _storage(storage: Any) -> Any:
    """SQLite waits a minute for the writes of others, in place of optuna's few seconds."""
    if not isinstance(storage, str) or not storage.startswith("sqlite"):
        return storage
    import optuna

    return optuna.storages.RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})


def _sampler(name: str, seed: int, trials: int) -> Any:
    """A sampler that draws for the next trial of a study; a quasi-random sequence is one over all of them."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return getattr(optuna.samplers, SAMPLERS[name])(seed=seed if name == "qmc" else seed + trials)


def check_name(what: str, given: Any, table: Mapping[str, str]) -> None:
    """Refuses a name that is in no table; an object is Optuna's to judge.

    Raises:
        ConfigurationError: lists those there are.
    """
    if isinstance(given, str) and given not in table:
        problem = f"{what}={given!r}: expected one of {', '.join(table)}, or an object of optuna.{what}s"
        raise ConfigurationError([problem + near(given, table)])


def _url(storage: Any) -> str | None:
    found = storage if isinstance(storage, str) else getattr(storage, "url", None)
    return found if isinstance(found, str) else None


def _shown(storage: Any) -> str:
    """The address without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", _url(storage) or type(storage).__name__)


def unknown_options(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """What is wrong with the names of further arguments of a search."""
    return [
        f"hyperparameter_search({name}=...): expected one of {', '.join(known)}{near(name, known)}; correct it, or "
        "leave it out"
        for name in names
    ]
