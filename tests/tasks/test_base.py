"""What every task gets for free, on a regression of two weights under a plain `lightning.Trainer`."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torchmetrics import MeanAbsoluteError, MeanMetric

from lt_trainer.data.collators import default_data_collator
from lt_trainer.datamodule import TaskData
from lt_trainer.tasks.base import Task

ROWS = [{"x": [float(i)], "labels": float(2 * i)} for i in range(5)]
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*have no `val_dataloader`",
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
)


class Line(nn.Module):
    """y = w x + b with w = 1 and b = 0, so that the error of row i is i and its loss i squared."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x, labels=None):
        y = self.linear(x).squeeze(-1)
        loss = None if labels is None else nn.functional.mse_loss(y, labels)
        return {"loss": loss, "y": y}


class Regression(Task):
    def __init__(self, model: nn.Module, **options) -> None:
        super().__init__(model, **options)
        self.metrics["mae"] = MeanAbsoluteError()

    def score(self, metric, predictions, labels):
        metric.update(predictions, labels)


class Numbers(TaskData):
    def __init__(self, rows=ROWS, **options) -> None:
        super().__init__(**options)
        self.train_dataset = self.eval_dataset = self.test_dataset = rows

    @property
    def collate(self):
        return default_data_collator


class Rates(pl.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rates.append(pl_module.outcome.learning_rate)


def lightning(**options):
    return pl.Trainer(accelerator="cpu", **QUIET, **options)


def fit(task, data, *, callbacks=(), **options):
    trainer = lightning(callbacks=list(callbacks), **options)
    trainer.fit(task, train_dataloaders=data.train_dataloader())
    return trainer


@pytest.mark.parametrize("eval_batch_size", [1, 2, 5])
def test_the_validation_loss_is_the_mean_over_all_rows_whatever_the_batch(eval_batch_size: int) -> None:
    data = Numbers(eval_batch_size=eval_batch_size)
    metrics = lightning().validate(Regression(Line()), datamodule=data, verbose=False)[0]
    assert metrics["val_loss"] == pytest.approx((0 + 1 + 4 + 9 + 16) / 5)


def test_a_metric_is_over_all_rows_once() -> None:
    metrics = lightning().validate(Regression(Line()), datamodule=Numbers(eval_batch_size=2), verbose=False)[0]
    assert metrics["val_mae"] == pytest.approx((0 + 1 + 2 + 3 + 4) / 5)


def test_a_second_pass_begins_anew() -> None:
    task, trainer = Regression(Line()), lightning()
    first = trainer.validate(task, datamodule=Numbers(eval_batch_size=2), verbose=False)[0]
    assert trainer.validate(task, datamodule=Numbers(eval_batch_size=2), verbose=False)[0] == first


def test_a_test_has_a_prefix_of_its_own() -> None:
    metrics = lightning().test(Regression(Line()), datamodule=Numbers(eval_batch_size=2), verbose=False)[0]
    assert metrics == pytest.approx({"test_loss": 6.0, "test_mae": 2.0})


def test_rows_without_labels_have_neither_loss_nor_metrics() -> None:
    rows = [{"x": row["x"]} for row in ROWS]
    assert lightning().validate(Regression(Line()), datamodule=Numbers(rows), verbose=False) == [{}]


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 3), (2, 2), (3, 1)])
def test_a_step_is_a_window(accumulation: int, steps: int) -> None:
    trainer = fit(Regression(Line()), Numbers(batch_size=2, accumulation=accumulation), max_epochs=1)
    assert trainer.global_step == steps


def test_the_training_loss_that_is_logged_is_that_of_the_whole_step() -> None:
    trainer = fit(Regression(Line()), Numbers(batch_size=2, accumulation=3), max_epochs=1)
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lr_scheduler_type": "constant"}, [0.1, 0.1, 0.1, 0.1]),
        ({"lr_scheduler_type": "linear"}, [0.1, 0.075, 0.05, 0.025]),
        ({"lr_scheduler_type": "linear", "warmup_steps": 2}, [0.0, 0.05, 0.1, 0.05]),
    ],
)
def test_the_schedule_spans_the_steps_that_lightning_makes(options, expected) -> None:
    recorder = Rates()
    data = Numbers(batch_size=2, accumulation=2)  # two steps an epoch
    fit(Regression(Line(), learning_rate=0.1, **options), data, callbacks=[recorder], max_epochs=2)
    assert recorder.rates == pytest.approx(expected)


def test_biases_do_not_decay() -> None:
    task = Regression(Line(), weight_decay=0.1)
    fit(task, Numbers(), max_epochs=1)
    decays = {id(p): group["weight_decay"] for group in task.optimizers().param_groups for p in group["params"]}
    assert decays == {id(task.model.linear.weight): 0.1, id(task.model.linear.bias): 0.0}


def test_small_max_grad_norm_does_not_hide_the_norm() -> None:
    task = Regression(Line(), max_grad_norm=1e-3)
    fit(task, Numbers(ROWS[:2], batch_size=2), max_steps=1)
    # d/dw of the mean of (wx - 2x)^2 over x = 0, 1 is -1, and d/db likewise.
    assert float(task.outcome.grad_norm) == pytest.approx(2**0.5)


def test_a_task_with_metrics_says_how_to_count() -> None:
    task = Task(Line())
    task.metrics["mean"] = MeanMetric()
    with pytest.raises(NotImplementedError, match=r"Task has metrics and no score\(\)"):
        lightning().validate(task, datamodule=Numbers(), verbose=False)


def test_a_task_without_records_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Regression has no records\(\)"):
        Regression(Line()).records(torch.zeros(2))


def test_a_task_tells_its_data_nothing_by_default() -> None:
    data = Numbers()
    before = dict(vars(data))
    Regression(Line()).prepare_data_module(data)
    assert vars(data) == before
