"""Sends every log to the loggers that `report_to` names, through Lightning's loggers, over optimizer steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.callbacks.base import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning.pytorch.loggers import Logger

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerControl, TrainerState

_PREFIXES = ("eval", "test")


class LoggerReport(TrainerCallback):
    """Hands each log of process 0 to one Lightning logger, with the tags that `transformers` gives them.

    Args:
        open_logger: makes the logger when training starts: a run that never starts writes nothing.
    """

    def __init__(self, open_logger: Callable[[TrainingArguments], Logger]) -> None:
        self.open_logger = open_logger
        self.logger: Logger | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the logger on process 0."""
        if state.is_world_process_zero:
            self.logger = self.open_logger(args)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the numbers among a log's values."""
        if self.logger is not None:
            logs = kwargs["logs"]
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


def _tensorboard(args: TrainingArguments) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    folder = args.logging_dir or f"{args.output_dir}/runs"
    return TensorBoardLogger(folder, name=None, version="", default_hp_metric=False)


_LOGGERS = {"tensorboard": _tensorboard}


def reports(report_to: Sequence[str] | None) -> list[LoggerReport]:
    """A callback for each logger that is named; names that nothing knows were refused by the plan."""
    return [LoggerReport(_LOGGERS[name]) for name in report_to or () if name in _LOGGERS]
