"""A search as a person sees it: a line for each trial as it ends, then the best run and how to fit with it."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lt_trainer.args.check import ConfigurationError, MissingMetricError
from lt_trainer.callbacks.progress import PrinterCallback, ProgressCallback
from lt_trainer.search import save_pictures
from lt_trainer.search.trials import NoCompleteTrialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import optuna
    from optuna.trial import FrozenTrial

    from lt_trainer.callbacks.base import Answer
    from lt_trainer.outputs import BestRun
    from lt_trainer.search_options import SearchOptions
    from lt_trainer.trainer import Trainer

COLUMN = 13  # characters: longer names are broken at their underscores


def search(trainer: Trainer, options: SearchOptions, stream: TextIO) -> tuple[BestRun, Path]:
    """Runs a search, and prints its trials.

    Args:
        trainer: with `model_init`.
        options: what is asked for.
        stream: where the table goes.

    Returns:
        The best run and its folder.

    Raises:
        ConfigurationError: no trial was complete, a metric that evaluations do not give, or what
            `Trainer.hyperparameter_search` raises.
    """
    import optuna

    trainer.pop_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None and sys.stderr.isatty():
        trainer.add_callback(TrialProgress())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("lt_trainer.search").setLevel(logging.WARNING)
    metric, direction = options.goal(trainer.args)
    study: dict[str, Any] = {"sampler": options.sampler, "pruner": options.pruner}
    if options.storage is not None:
        study |= {"storage": options.storage, "study_name": options.study_name, "load_if_exists": True}
    table = TrialTable(metric, stream)
    try:
        best = trainer.hyperparameter_search(
            options.space,
            objective_of(metric),
            options.n_trials,
            direction,
            options.backend,
            timeout=options.timeout,
            callbacks=[table],
            **study,
        )
    except NoCompleteTrialError as error:
        raise ConfigurationError([str(error)]) from error
    assert not isinstance(best, list)
    output_dir = Path(trainer.args.output_dir or "")
    if trainer.is_world_process_zero():
        table(best.run_summary)
        if options.pictures is not None:
            names = save_pictures(best.run_summary, output_dir, options.pictures)
            print(f"\npictures: {', '.join(str(output_dir / name) for name in names)}", file=stream)
    return best, output_dir / f"run-{best.run_id}"


def objective_of(metric: str) -> Callable[[Mapping[str, float]], float]:
    """Takes one metric out of an evaluation.

    Args:
        metric: its name, with the prefix.
    """

    def objective(metrics: Mapping[str, float]) -> float:
        if metric not in metrics:
            raise MissingMetricError(metric, metrics)
        return metrics[metric]

    return objective


def tell(best: BestRun, folder: Path, goal: tuple[str, str], stream: TextIO) -> None:
    """Says which trial was the best, and how to train with its arguments."""
    metric, direction = goal
    drawn = ", ".join(f"{name}={shown(value)}" for name, value in best.hyperparameters.items())
    which = {"minimize": "lowest", "maximize": "highest"}[direction]
    config, anew = (shlex.quote(str(path)) for path in (folder / "config.yaml", folder.parent / "best"))
    print(
        f"\nbest: trial {best.run_id} with the {which} {metric}, {shown(best.objective)}: {drawn}",
        f"its model and its configuration are in {folder}",
        f"to train it again: lt-trainer fit --config {config} --output_dir {anew}",
        sep="\n",
        file=stream,
    )


class TrialTable:
    """Prints every finished trial of a study once, also those of other processes and of earlier calls.

    Args:
        metric: heads the column of the objective.
        stream: where to.
    """

    def __init__(self, metric: str, stream: TextIO) -> None:
        self.metric, self.stream = metric, stream
        self.names: list[str] = []
        self.told: set[int] = set()

    def __call__(self, study: optuna.Study, trial: FrozenTrial | None = None) -> None:
        """Called when a trial has ended."""
        ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.number not in self.told]
        if ended and not self.told:
            self.names = list(dict.fromkeys(name for t in ended for name in t.params))
            head = [broken(name) for name in ("trial", "state", "seconds", self.metric, *self.names)]
            height = max(map(len, head))
            filled = [[""] * (height - len(lines)) + lines for lines in head]
            for cells in zip(*filled, strict=True):
                self._print(cells)
        for t in ended:
            self.told.add(t.number)
            self._print(self._cells(t))

    def _cells(self, trial: FrozenTrial) -> list[str]:
        last = [value for _, value in sorted(trial.intermediate_values.items())][-1:]
        value = trial.value if trial.value is not None else last[0] if last else None
        seconds = "" if trial.duration is None else f"{trial.duration.total_seconds():.1f}"
        drawn = [shown(trial.params[name]) if name in trial.params else "" for name in self.names]
        return [str(trial.number), trial.state.name.lower(), seconds, "" if value is None else shown(value), *drawn]

    def _print(self, cells: Iterable[str]) -> None:
        number, state, *rest = cells
        line = f"{number:>5}  {state:<8}" + "".join(f"  {cell:>{COLUMN}}" for cell in rest)
        print(line.rstrip(), file=self.stream, flush=True)


def broken(name: str) -> list[str]:
    """A name on as many lines as a column needs."""
    lines = [""]
    for part in name.split("_"):
        joined = f"{lines[-1]}_{part}" if lines[-1] else part
        if len(joined) <= COLUMN or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += "_"
            lines.append(part)
    return lines


def shown(value: object) -> str:
    """A value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class TrialProgress(ProgressCallback):
    """A bar that leaves nothing behind: the table says how a trial went."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Answer:
        """See ProgressCallback."""
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.leave = False
        return None

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Answer:
        """See ProgressCallback."""
        super().on_prediction_step(args, state, control, **kwargs)
        if self.prediction_bar is not None:
            self.prediction_bar.leave = False
        return None

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Answer:
        """The loss beside the bar, and no line."""
        if self.training_bar is not None and "loss" in kwargs["logs"]:
            self.training_bar.set_postfix(loss=f"{kwargs['logs']['loss']:.4g}", refresh=False)
        return None
