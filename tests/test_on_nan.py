"""Gradients that are not finite: they never reach the weights, and what is told names the rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lt_trainer import Trainer, TrainingArguments
from lt_trainer.hooks import NonFiniteError

ROWS = [{"x": [float(i), 1.0], "labels": i % 2} for i in range(12)]


class Poisoned(nn.Module):
    """Returns a NaN where a row's first number is `at`; dropout shows whether the random state is that of the step."""

    def __init__(self, at):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout, self.at = nn.Linear(2, 2), nn.Dropout(0.5), at

    def forward(self, x, labels=None):
        logits = self.linear(self.dropout(x))
        loss = nn.functional.cross_entropy(logits, labels)
        return {"loss": loss * torch.where((x[:, 0] == self.at).any(), torch.nan, 1.0), "logits": logits}


def make(tmp_path, at, name="run", **options):
    settings = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "logging_steps": 1, "learning_rate": 0.1}
    settings |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    args = TrainingArguments(str(tmp_path / name), **{**settings, **options})
    return Trainer(Poisoned(at), args, train_dataset=ROWS)


def row_of_step(step):
    """The first number of a row that the step trains on."""
    return float(torch.randperm(12, generator=torch.Generator().manual_seed(42))[2 * step - 1])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_stop_keeps_and_saves_the_weights_of_the_step_before_and_names_the_rows(tmp_path, accumulation):
    bad = row_of_step(3 * accumulation)
    options = {"gradient_accumulation_steps": accumulation}
    before = make(tmp_path, at=-1, name="before", max_steps=2, lr_scheduler_type="constant", **options)
    before.train()
    stopped = make(tmp_path, at=bad, lr_scheduler_type="constant", **options)
    with pytest.raises(NonFiniteError, match=rf"step 3: .*rank 0, rows \[.*{int(bad)}.*of train_dataset"):
        stopped.train()
    for a, b in zip(before.model.parameters(), stopped.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "run" / "checkpoint-2").is_dir()


def test_the_checkpoint_that_stop_leaves_goes_on_as_if_nothing_had_been(tmp_path):
    whole = make(tmp_path, at=-1, name="whole")
    whole.train()
    with pytest.raises(NonFiniteError):
        make(tmp_path, at=row_of_step(4)).train()
    mended = make(tmp_path, at=-1)
    mended.train(resume_from_checkpoint=True)
    assert mended.state.global_step == 6
    for a, b in zip(whole.model.parameters(), mended.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_skip_goes_on_counts_and_shows_the_loss(tmp_path, caplog):
    trainer = make(tmp_path, at=row_of_step(2), on_nan="skip")
    output = trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [math.isnan(loss) for loss in losses] == [False, True, False, False, False, False]
    assert math.isfinite(output.training_loss)
    assert output.training_loss == pytest.approx(sum(loss for loss in losses if not math.isnan(loss)) / 5)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    assert [record.message for record in caplog.records if "step 1: the gradients" in record.message] == []
    assert sum("step 2: the gradients are not finite" in record.message for record in caplog.records) == 1


def test_a_skipped_step_leaves_weights_and_optimizer_alone(tmp_path):
    weights = []
    for at in (-1, row_of_step(2)):
        options = {"optim": "sgd", "lr_scheduler_type": "constant", "on_nan": "skip", "max_steps": 2 if at >= 0 else 1}
        trainer = make(tmp_path, at=at, **options)
        trainer.train()
        weights.append(trainer.model.linear.weight)
    assert torch.equal(*weights)


@pytest.mark.parametrize(("filtered", "shown"), [(True, False), (False, True)])
def test_ignore_is_the_way_of_transformers(tmp_path, filtered, shown):
    trainer = make(tmp_path, at=row_of_step(2), on_nan="ignore", logging_nan_inf_filter=filtered)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert math.isnan(losses[1]) is shown
    assert not trainer.model.linear.weight.isfinite().all()


def test_infinite_gradients_of_finite_losses_are_found_too(tmp_path):
    trainer = make(tmp_path, at=-1)
    trainer.model.linear.weight.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(NonFiniteError, match=r"step 1: .*every loss is finite"):
        trainer.train()
    assert trainer.model.linear.weight.isfinite().all()
