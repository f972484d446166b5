"""The scaler of float16: what it skips moves no schedule, and norms and clipping see gradients as they are."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.amp import GradScaler

from lt_trainer import Trainer, TrainingArguments
from lt_trainer.hooks import NonFiniteError
from tests.faults import runs


class Plain(MixedPrecision):
    """A scaler without float16 products, so that numbers can be compared; it works on a CPU too."""

    def forward_context(self):
        return torch.autocast("cpu", enabled=False)


def train(folder, scaler: GradScaler | None, *, model=None, optimizer=None, **options) -> Trainer:
    torch.manual_seed(0)
    model = model or runs.Toy()
    model.dropout.p = 0.0
    settings = {"max_steps": 4, "learning_rate": 0.1, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
    settings |= {"disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 8}
    flags = {} if scaler is None else {"plugins": Plain("16-mixed", "cpu", scaler=scaler)}
    args = TrainingArguments(str(folder), **{**settings, **options})
    optimizers = (optimizer(model.parameters()) if optimizer else None, None)
    trainer = Trainer(model, args, train_dataset=runs.rows(), optimizers=optimizers, lightning_flags=flags)
    trainer.train()
    return trainer


def column(trainer: Trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_norms_are_measured_and_clipped_after_unscaling(tmp_path, accumulation: int, optim: str) -> None:
    options = {"max_grad_norm": 0.05, "gradient_accumulation_steps": accumulation, "optim": optim}
    options["per_device_train_batch_size"] = 8 // accumulation
    plain = train(tmp_path / "plain", None, **options)
    scaled = train(tmp_path / "scaled", GradScaler("cpu", init_scale=2.0**12), **options)
    assert min(column(plain, "grad_norm")) > 0.05  # it clips
    assert column(scaled, "grad_norm") == pytest.approx(column(plain, "grad_norm"), rel=1e-5)
    assert column(scaled, "loss") == pytest.approx(column(plain, "loss"), rel=1e-5)
    assert runs.weights(scaled) == pytest.approx(runs.weights(plain), rel=1e-4)


def test_a_fused_optimizer_of_the_users_is_clipped_by_the_unscaled_norm_too(tmp_path) -> None:
    def fused(parameters):
        return torch.optim.SGD(parameters, lr=0.1, fused=True)

    plain = train(tmp_path / "plain", None, optimizer=fused, max_grad_norm=0.05)
    scaled = train(tmp_path / "scaled", GradScaler("cpu", init_scale=2.0**12), optimizer=fused, max_grad_norm=0.05)
    assert column(scaled, "grad_norm") == pytest.approx(column(plain, "grad_norm"), rel=1e-5)
    assert runs.weights(scaled) == pytest.approx(runs.weights(plain), rel=1e-4)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_a_step_that_the_scaler_skips_moves_neither_weights_nor_schedule(tmp_path, optim: str) -> None:
    class Doubled(runs.Toy):
        def forward(self, x, labels):
            return {"loss": super().forward(x, labels)["loss"] * 2}

    options = {"optim": optim, "per_device_train_batch_size": 16}
    plain = train(tmp_path / "plain", None, **options)
    scaler = GradScaler("cpu", init_scale=3e38, backoff_factor=1e-30)  # the first step overflows, none after it
    torch.manual_seed(0)
    skipping = train(tmp_path / "skipping", scaler, model=Doubled(), **options)
    assert scaler.get_scale() == pytest.approx(3e8, rel=1e-3)
    rates = column(skipping, "learning_rate")
    assert rates[0] == rates[1] == column(plain, "learning_rate")[0]
    assert rates[2:] == column(plain, "learning_rate")[1:3]
    losses = column(skipping, "loss")  # every step trains on all rows
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] < 0.99 * losses[1]
    assert torch.tensor(runs.weights(skipping)).isfinite().all()


def test_a_scaler_that_is_switched_off_watches_over_nothing(tmp_path) -> None:
    class Infinite(runs.Toy):
        def forward(self, x, labels):
            return {"loss": super().forward(x, labels)["loss"] * torch.inf}

    with pytest.raises(NonFiniteError, match="step 1"):
        train(tmp_path / "off", GradScaler("cpu", enabled=False), model=Infinite())


def test_a_checkpoint_takes_the_scale_along(tmp_path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    train(tmp_path / "run", GradScaler("cpu", init_scale=2.0**12, growth_interval=1), max_steps=2, **options)
    scaler = GradScaler("cpu", init_scale=1.0, growth_interval=1)
    torch.manual_seed(0)
    args = TrainingArguments(str(tmp_path / "run"), max_steps=3, report_to="none", disable_tqdm=True, use_cpu=True)
    flags = {"plugins": [Plain("16-mixed", "cpu", scaler=scaler)]}
    Trainer(runs.Toy(), args, train_dataset=runs.rows(), lightning_flags=flags).train(resume_from_checkpoint=True)
    assert scaler.get_scale() == 2.0**15
