"""What the tasks share: a step module with an optimizer of its own and metrics, for use without the facade.

What a task is asked, and when::

    evaluation:  begin_scores
                 for each batch: add_scores(part)           # predictions, labels, what its rows keep aside
                 scores(driver)                             # over all processes
    prediction:  records(predictions, rows)                 # what a person reads of each row
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from lt_trainer.args.plan import Optimization
from lt_trainer.arrays import Columns, to_numpy
from lt_trainer.evaluation import Evaluation, Part
from lt_trainer.module import StepModule
from lt_trainer.objective import inputs_of, predictions_of
from lt_trainer.optim import create_optimizer, create_scheduler
from lt_trainer.signatures import ListsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torchmetrics import Metric

    from lt_trainer.data.windows import Row, Window
    from lt_trainer.datamodule import TaskData
    from lt_trainer.drivers import Driver
    from lt_trainer.outputs import EvalPrediction


class Task(ListsSettings, StepModule):
    """A model with what it takes to train it under a plain `lightning.Trainer`.

    The arguments have the names, units and defaults of TrainingArguments; where the facade trains the task, its
    TrainingArguments hold and these are not read.

    Args:
        model: see StepModule.
        learning_rate: peak of the schedule.
        lr_scheduler_type: see TrainingArguments.
        warmup_steps: optimizer steps of warm-up.
        weight_decay: of all weights but biases and norms.
        max_grad_norm: clips the norm of all gradients; 0: off. (Lightning's `gradient_clip_val` stays unset.)
    """

    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None
    """Further metrics for the facade, of all predictions at once, a static method; None: those of `scores` alone."""
    generate_max_examples: int | None = None
    """Rows of an evaluation, from the first, that are predicted; None: all. The loss is over all rows either way."""

    def __init__(
        self,
        model: nn.Module,
        *,
        learning_rate: float = 5e-5,
        lr_scheduler_type: str = "linear",
        warmup_steps: int = 0,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
    ) -> None:
        super().__init__(model, max_grad_norm=max_grad_norm)
        self.learning_rate, self.lr_scheduler_type = learning_rate, lr_scheduler_type
        self.warmup_steps, self.weight_decay = warmup_steps, weight_decay
        self.metrics = nn.ModuleDict()  # name -> torchmetrics.Metric, filled by the task
        self._unfinished: Any = None  # predictions for windows of a row whose last has not come yet
        self._unfinished_rows: list[Row] = []

    # ---- what a task may override

    def score(self, metric: Metric, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Adds a batch of the model's predictions to a metric: the task says what of them it counts."""
        raise NotImplementedError(f"{type(self).__name__} has metrics and no score(): say how a batch enters them")

    @property
    def reads_predictions(self) -> bool:
        """Whether an evaluation needs the model's predictions, and not the loss alone."""
        return bool(self.metrics)

    def begin_scores(self) -> None:
        """Begins a pass over evaluation data."""
        for metric in self.metrics.values():
            metric.reset()  # type: ignore[operator]

    def add_scores(self, part: Part) -> None:
        """Counts a batch as it comes, so that predictions need not be kept."""
        if part.labels is None:
            return
        for metric in self.metrics.values():
            self.score(metric.to(_device_of(part.predictions)), part.predictions, part.labels)  # type: ignore[arg-type]

    def scores(self, driver: Driver) -> dict[str, float]:
        """The metrics over the rows of all processes; nothing where there were no labels."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}  # type: ignore[operator]

    def loss_scores(self, loss: float) -> dict[str, float]:
        """Metrics that follow from the mean loss of a target alone; nothing by default."""
        return {}

    def prepare_data_module(self, data: TaskData) -> None:
        """Tells the data what a trained model knows, before its rows are read to measure it; nothing by default."""

    def records(self, predictions: Any, rows: Sequence[Row] | None = None) -> Iterable[dict[str, Any]]:
        """What a person reads of each row's predictions, ready for JSON: what `lt-trainer predict` writes.

        Args:
            predictions: as `Trainer.predict` returns them: numpy, row after row; a tuple where there are several.
            rows: the tokenized rows, or what they keep aside; for tasks that answer in words of the rows.
        """
        raise NotImplementedError(f"{type(self).__name__} has no records(): say what to write for a row's predictions")

    # ---- under a plain lightning.Trainer

    def configure_optimizers(self) -> Any:
        """AdamW with a schedule over the steps that Lightning's Trainer is going to make."""
        settings = Optimization(
            name="adamw_torch_fused",
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.999),
            epsilon=1e-8,
            args=None,
            scheduler=self.lr_scheduler_type,
            scheduler_kwargs={},
            warmup_steps=self.warmup_steps,
            total_steps=int(self.trainer.estimated_stepping_batches),
            max_grad_norm=self.max_grad_norm,
        )
        optimizer = create_optimizer(self.model, settings)
        scheduler = create_scheduler(optimizer, settings, settings.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, window: Window, batch_idx: int) -> dict[str, torch.Tensor]:
        """See StepModule; logs `train_loss`."""
        output = super().training_step(window, batch_idx)
        rows = sum(map(len, window.rows))
        self.log("train_loss", output["loss"], prog_bar=True, batch_size=rows, sync_dist=True, reduce_fx="sum")
        return output

    def on_validation_epoch_start(self) -> None:
        """Begins a pass over the evaluation data."""
        self.begin_scores()
        read = self.add_scores if self.reads_predictions else None
        self.evaluation = Evaluation(read=read, predicts=self.generate_max_examples)

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss`, the mean over all targets, and the task's metrics."""
        self._log_evaluation("val")

    def on_test_epoch_start(self) -> None:
        """As for validation."""
        self.on_validation_epoch_start()

    def on_test_epoch_end(self) -> None:
        """As for validation, with the prefix `test`."""
        self._log_evaluation("test")

    def predict_step(self, window: Window, batch_idx: int) -> list[dict[str, Any]]:
        """The `records` of a batch; a row in several windows is answered with the batch that holds its last."""
        names = self.hooks.label_names
        columns, rows = Columns(), [*self._unfinished_rows, *(row for kept in window.kept for row in kept or ())]
        if self._unfinished_rows:
            columns.append(self._unfinished)
        for batch in window.batches:
            outputs = self.model(**{name: x for name, x in inputs_of(batch).items() if name not in names})
            columns.append(to_numpy(predictions_of(outputs, False, ())))
        whole, count = columns.whole(), unfinished(rows)
        done = len(rows) - count if rows else None
        self._unfinished, self._unfinished_rows = rows_of(whole, slice(done, None)), rows[done:] if rows else []
        return list(self.records(rows_of(whole, slice(0, done)), rows[:done]))

    def on_predict_start(self) -> None:
        """Forgets what an earlier pass left."""
        self._unfinished_rows = []

    def on_predict_end(self) -> None:
        """Refuses to lose rows whose windows were dealt to several processes."""
        if self._unfinished_rows:
            raise ValueError(
                f"{len(self._unfinished_rows)} windows are left whose others are on another process: expected one "
                f"process, received {self.trainer.world_size}: predict with devices=1, or with lt_trainer.Trainer"
            )

    def _log_evaluation(self, prefix: str) -> None:
        assert self.driver is not None
        loss = self.evaluation.loss(self.driver)
        if loss is None:  # no process had labels, so no metric has anything to compute
            return
        self.log(f"{prefix}_loss", loss, prog_bar=True)
        predicted = self.evaluation.num_predicted(self.driver)
        for name, value in {**self.loss_scores(loss), **self.scores(self.driver), **predicted}.items():
            self.log(f"{prefix}_{name}", value, prog_bar=True)


class ClassTask(Task):
    """A task whose model has classes, with names. The arguments are those of Task."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.config = cast("Any", self.model.config)

    @property
    def label_names(self) -> list[str]:
        """The names of the model's classes in the order of their numbers."""
        return [self.config.id2label[number] for number in range(self.config.num_labels)]

    def prepare_data_module(self, data: TaskData) -> None:
        """A trained model says which class has which number; rows to measure may hold only some, or none."""
        cast("Any", data).label_names = self.label_names  # a class of the caller's may take them too


def _device_of(predictions: Any) -> torch.device:
    first = predictions[0] if isinstance(predictions, tuple) else predictions
    device: torch.device = first.device
    return device


def unfinished(rows: Sequence[Row]) -> int:
    """How many of the last rows are windows of one whose others are still to come."""
    if not rows or "windows" not in rows[-1]:
        return 0
    count = 1
    while count < len(rows) and rows[-count - 1]["row"] == rows[-1]["row"]:
        count += 1
    return count if count < rows[-1]["windows"] else 0


def rows_of(nest: Any, rows: slice) -> Any:
    """Some rows of every array of a tuple, or of one array."""
    return tuple(part[rows] for part in nest) if isinstance(nest, tuple) else nest[rows]
