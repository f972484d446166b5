"""Sends every log to the loggers that `report_to` names, through Lightning's loggers, over optimizer steps."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lt_trainer.callbacks.base import TrainerCallback
from lt_trainer.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lightning.pytorch.loggers import Logger

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerControl, TrainerState

OpenLogger: TypeAlias = "Callable[[TrainingArguments, int], Logger]"

_PREFIXES = ("eval", "test")


class LoggerReport(TrainerCallback):
    """Hands each log of process 0 to one Lightning logger, with the tags that `transformers` gives them.

    Args:
        open_logger: makes the logger when training starts: a run that never starts writes nothing. Takes the arguments
            and the optimizer steps that were done before.
        beside: what goes with the log that is being told, beyond what `transformers` logs.
    """

    def __init__(self, open_logger: OpenLogger, beside: Callable[[], Mapping[str, float]] = dict) -> None:
        self.open_logger, self.beside = open_logger, beside
        self.logger: Logger | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the logger on process 0, and enters the arguments as the settings of the run."""
        if state.is_world_process_zero:
            self.logger = self.open_logger(args, state.global_step)
            self.logger.log_hyperparams(args.to_sanitized_dict())

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the numbers among a log's values."""
        if self.logger is not None:
            logs = {**kwargs["logs"], **self.beside()}
            numbers = {tag(name): float(value) for name, value in logs.items() if isinstance(value, int | float)}
            self.logger.log_metrics(numbers, step=state.global_step)
            self.logger.save()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Closes the logger."""
        if self.logger is not None:
            self.logger.finalize("success")
            self.logger = None


def tag(name: str) -> str:
    """The logger's name of a logged value: "loss" is "train/loss", "eval_f1" is "eval/f1"."""
    prefix, _, rest = name.partition("_")
    return f"{prefix}/{rest}" if prefix in _PREFIXES and rest else f"train/{name}"


def _tensorboard(args: TrainingArguments, step: int) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    folder, purge = _folder(args), step + 1 if step else None  # what a killed run wrote beyond its last save
    return TensorBoardLogger(folder, name=None, version="", default_hp_metric=False, purge_step=purge)


def _wandb(args: TrainingArguments, step: int) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    project = os.environ.get("WANDB_PROJECT", args.project)
    return WandbLogger(name=args.run_name, project=project, save_dir=_made(_folder(args)))


def _mlflow(args: TrainingArguments, step: int) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    where = os.environ.get("MLFLOW_TRACKING_URI") or f"file:{_folder(args)}/mlruns"
    return MLFlowLogger(os.environ.get("MLFLOW_EXPERIMENT_NAME", args.project), args.run_name, tracking_uri=where)


def _comet(args: TrainingArguments, step: int) -> Logger:
    from lightning.pytorch.loggers import CometLogger

    return CometLogger(project=os.environ.get("COMET_PROJECT_NAME", args.project), name=args.run_name)


def _trackio(args: TrainingArguments, step: int) -> Logger:
    from lt_trainer.callbacks.trackio import TrackioLogger

    return TrackioLogger(
        args.project,
        args.run_name,
        args.trackio_space_id,
        bucket_id=args.trackio_bucket_id,
        private=args.hub_private_repo,
        static_space_id=str(args.trackio_static_space_id) if args.trackio_static_space_id else None,
    )


def _csv(args: TrainingArguments, step: int) -> Logger:
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(_folder(args), name="csv", flush_logs_every_n_steps=1)  # a new version_<n> each run


def _folder(args: TrainingArguments) -> str:
    return args.logging_dir or f"{args.output_dir}/runs"


def _made(folder: str) -> str:
    make_folder(Path(folder))
    return folder


_LOGGERS: dict[str, tuple[str, OpenLogger]] = {  # the package that each needs, and how it is opened
    "tensorboard": ("tensorboard", _tensorboard),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "comet_ml": ("comet_ml", _comet),
    "trackio": ("trackio", _trackio),
    "csv": ("lightning", _csv),
}


def reports(report_to: Sequence[str] | None, beside: Callable[[], Mapping[str, float]] = dict) -> list[LoggerReport]:
    """A callback for each logger that is named; "all" names those whose packages are installed.

    Raises:
        ImportError: the package of one is not installed (names all such).
    """
    names = [*(report_to or ())]
    if "all" in names:
        names = [name for name, (package, _) in _LOGGERS.items() if find_spec(package) is not None]
    wanted = [(name, *_LOGGERS[name]) for name in names if name in _LOGGERS]
    if missing := [(name, package) for name, package, _ in wanted if find_spec(package) is None]:
        raise ImportError(
            "; ".join(
                f"report_to={name!r} needs the package {package}, which is not installed" for name, package in missing
            )
            + f": pip install {' '.join(package for _, package in missing)}, or take report_to='none'"
        )
    return [LoggerReport(open_logger, beside) for _, _, open_logger in wanted]
