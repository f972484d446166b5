"""Stops training when the metric that decides no longer improves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import raise_if
from lt_trainer.callbacks.base import Answer, TrainerCallback
from lt_trainer.state import ExportableState, TrainerControl, TrainerState

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments

logger = logging.getLogger(__name__)


class EarlyStoppingCallback(TrainerCallback, ExportableState):
    """Stops after `early_stopping_patience` evaluations in a row that did not improve `metric_for_best_model`.

    Args:
        early_stopping_patience: evaluations without improvement that are still waited for.
        early_stopping_threshold: an improvement must be larger than this.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float | None = 0.0) -> None:
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold
        self.early_stopping_patience_counter = 0  # evaluations in a row without improvement

    def check_metric_value(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metric_value: float
    ) -> None:
        """Counts an evaluation; a NaN is no improvement."""
        best = state.best_metric
        gain = 0.0 if best is None else (metric_value - best if args.greater_is_better else best - metric_value)
        improved = best is None or gain > max(self.early_stopping_threshold or 0.0, 0.0)
        self.early_stopping_patience_counter = 0 if improved else self.early_stopping_patience_counter + 1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Checks that there is something to watch.

        Raises:
            ConfigurationError: no metric is named, or nothing is evaluated.
        """
        problems = []
        if args.metric_for_best_model is None:
            problems.append("EarlyStoppingCallback with metric_for_best_model=None: set the metric that decides")
        if args.eval_strategy == "no":
            problems.append("EarlyStoppingCallback with eval_strategy='no': set eval_strategy='steps' or 'epoch'")
        raise_if(problems)
        if not args.load_best_model_at_end:
            logger.warning(
                "EarlyStoppingCallback with load_best_model_at_end=False: training will end with the last "
                "model, not with the best; set load_best_model_at_end=True to get that"
            )
        return None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Counts, and asks to stop when patience is out."""
        name = args.metric_for_best_model or "loss"
        name = name if name.startswith("eval_") else f"eval_{name}"
        metrics: dict[str, float] = kwargs["metrics"]
        if name not in metrics:
            others = {key.removesuffix("runtime") for key in metrics if key.endswith("_runtime")}
            if others and not name.startswith(tuple(others)):  # another one of several evaluation sets
                return None
            logger.warning("early stopping watches %r, which is not among %s: not counted", name, sorted(metrics))
            return None
        self.check_metric_value(args, state, control, metrics[name])
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True
        return control

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that patience goes on where it was."""
        return {
            "args": {
                "early_stopping_patience": self.early_stopping_patience,
                "early_stopping_threshold": self.early_stopping_threshold,
            },
            "attributes": {"early_stopping_patience_counter": self.early_stopping_patience_counter},
        }
