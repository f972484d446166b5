"""The step: against a hand-written loop, and against itself cut up in other ways."""

from __future__ import annotations

import copy

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from lt_trainer.data.collators import default_data_collator
from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import window_loader
from lt_trainer.hooks import StepHooks
from lt_trainer.module import StepModule

ROWS = [{"x": [float(i), float(i % 3)], "labels": i % 2} for i in range(14)]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*have no `val_dataloader`",
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
)
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Toy(nn.Module):
    """A foreign model: returns the mean over its targets."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(2, 2)

    def forward(self, x, labels=None):
        logits = self.linear(x)
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits}


def sgd(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def fit(module, batch_size=2, accumulation=1, *, seed=0, max_epochs=1, callbacks=()):
    loader = window_loader(ROWS, default_data_collator, WindowSampler(14, batch_size, accumulation, seed=seed))
    trainer = pl.Trainer(max_epochs=max_epochs, accelerator="cpu", callbacks=list(callbacks), **QUIET)
    trainer.fit(module, train_dataloaders=loader)
    return trainer


def by_hand(model, batch_size, accumulation, max_norm=1.0):
    """The same training as a plain loop over sums of losses."""
    optimizer, scheduler = sgd(model)
    losses, norms = [], []
    for window in WindowSampler(14, batch_size, accumulation, seed=0):
        rows = [ROWS[i] for share in window.shares for i in share]
        batch = default_data_collator(rows)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch["x"])["logits"], batch["labels"], reduction="sum") / len(rows)
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), max_norm)))
        losses.append(float(loss.detach()))
        optimizer.step()
        scheduler.step()
    return losses, norms


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.losses, self.norms, self.rates = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(pl_module.outcome.loss))
        self.norms.append(float(pl_module.outcome.grad_norm))
        self.rates.append(pl_module.outcome.learning_rate)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 1), (2, 2), (1, 4), (3, 3)])
def test_steps_equal_a_hand_written_loop_also_in_a_short_last_window(batch_size, accumulation):
    model, recorder = Toy(), Recorder()
    expected_model = copy.deepcopy(model)
    losses, norms = by_hand(expected_model, batch_size, accumulation)
    trainer = fit(StepModule(model, optimizer=sgd), batch_size, accumulation, callbacks=[recorder])
    assert trainer.global_step == len(losses)
    torch.testing.assert_close(torch.tensor(recorder.losses), torch.tensor(losses))
    torch.testing.assert_close(torch.tensor(recorder.norms), torch.tensor(norms))
    torch.testing.assert_close(model.state_dict(), expected_model.state_dict())


def test_the_schedule_moves_once_a_step():
    recorder = Recorder()
    fit(StepModule(Toy(), optimizer=sgd), 2, 2, callbacks=[recorder])
    assert recorder.rates == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])


def test_zero_max_grad_norm_measures_and_does_not_clip():
    model = Toy()
    expected_model = copy.deepcopy(model)
    by_hand(expected_model, 4, 1, max_norm=1e9)
    recorder = Recorder()
    fit(StepModule(model, optimizer=sgd, max_grad_norm=0.0), 4, callbacks=[recorder])
    assert min(recorder.norms) > 0
    torch.testing.assert_close(model.state_dict(), expected_model.state_dict())


def test_small_max_grad_norm_clips_the_gradients():
    model = Toy()
    expected_model = copy.deepcopy(model)
    by_hand(expected_model, 4, 1, max_norm=0.01)
    fit(StepModule(model, optimizer=sgd, max_grad_norm=0.01), 4)
    torch.testing.assert_close(model.state_dict(), expected_model.state_dict())


def test_a_model_in_eval_mode_is_trained_in_training_mode():
    class Watcher(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(all(module.training for module in pl_module.model.modules()))

    seen: list[bool] = []
    fit(StepModule(Toy().eval(), optimizer=sgd), callbacks=[Watcher()])
    assert seen
    assert all(seen)


def test_events_of_a_step_come_in_their_order():
    events: list[str] = []
    fit(StepModule(Toy(), optimizer=sgd, hooks=StepHooks(fire=events.append)), 4, 2)
    step = ["on_substep_end", "on_pre_optimizer_step", "on_optimizer_step"]
    assert events == step * 2


def test_a_loss_of_the_callers_replaces_the_models():
    def compute(model, batch, num_targets, count):
        seen.append((sorted(batch), int(num_targets), count))
        return model(**batch)["loss"] * 0.0, None

    seen: list[object] = []
    model = Toy()
    before = copy.deepcopy(model.state_dict())
    fit(StepModule(model, optimizer=sgd, hooks=StepHooks(compute_loss=compute)), 4, 2)
    assert seen[0] == (["labels", "x"], 8, 4)
    assert seen[-1] == (["labels", "x"], 6, 2)
    torch.testing.assert_close(model.state_dict(), before)


def test_an_ordinary_loader_of_plain_lightning_gives_windows_of_one():
    model, recorder = Toy(), Recorder()
    loader = torch.utils.data.DataLoader(ROWS, batch_size=7, collate_fn=default_data_collator)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[recorder], **QUIET)
    trainer.fit(StepModule(model, optimizer=sgd), train_dataloaders=loader)
    assert trainer.global_step == 2


def test_a_model_without_a_loss_is_an_error_that_says_what_it_returned():
    class Silent(Toy):
        def forward(self, x, labels=None):
            return {"logits": self.linear(x)}

    with pytest.raises(ValueError, match=r"no loss.*\['logits'\].*compute_loss"):
        fit(StepModule(Silent(), optimizer=sgd))


def test_training_without_an_optimizer_says_so():
    with pytest.raises(ValueError, match="optimizer"):
        fit(StepModule(Toy()))


def test_a_foreign_micro_batch_without_a_target_adds_nothing():
    rows = [{"x": [1.0, 2.0], "labels": -100}, {"x": [2.0, 1.0], "labels": 1}]
    model, recorder = Toy(), Recorder()
    expected = float(
        nn.functional.cross_entropy(model(torch.tensor([[2.0, 1.0]]))["logits"], torch.tensor([1])).detach()
    )
    loader = window_loader(rows, default_data_collator, WindowSampler(2, 1, 2, seed=0))
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[recorder], **QUIET)
    trainer.fit(StepModule(model, optimizer=sgd), train_dataloaders=loader)
    assert recorder.losses == pytest.approx([expected])
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_model_that_returns_its_loss_alone_trains():
    class Bare(Toy):
        def forward(self, x, labels=None):
            return super().forward(x, labels)["loss"]

    model, recorder = Bare(), Recorder()
    fit(StepModule(model, optimizer=sgd), 7, callbacks=[recorder])
    assert len(recorder.losses) == 2


def test_an_optimizer_with_modes_is_told_which_weights_are_wanted(tmp_path):
    """As those of `schedulefree` need it: their step fails in the other mode."""
    from lt_trainer import Trainer, TrainingArguments

    class Modes(torch.optim.SGD):
        modes = ()

        def train(self):
            self.mode = "train"

        def eval(self):
            self.mode = "eval"
            self.modes = (*self.modes, "eval")

        def step(self, closure=None):
            assert self.mode == "train"
            return super().step(closure)

    settings = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "report_to": "none", "disable_tqdm": True}
    args = TrainingArguments(str(tmp_path), use_cpu=True, save_strategy="no", **settings)
    model = Toy()
    optimizer = Modes(model.parameters(), lr=0.1)
    Trainer(model, args, train_dataset=ROWS, eval_dataset=ROWS, optimizers=(optimizer, None)).train()
    assert optimizer.mode == "eval"
    assert optimizer.modes.count("eval") >= 3
