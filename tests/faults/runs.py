"""Training runs that are over in a few hundredths of a second, with everything in them that a checkpoint must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lt_trainer import Trainer, TrainingArguments

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 5
SAVED = (2, 4, 5)
"""Every second step, and the last."""


class Toy(nn.Module):
    """A classifier of four numbers, with dropout, so that a generator that was not restored shows."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.linear(self.dropout(x))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def rows(count: int = 16) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(4, generator=generator), "labels": i % 2} for i in range(count)]


def build(output_dir: Path, **options: Any) -> Trainer:
    torch.manual_seed(0)
    facade = {name: options.pop(name) for name in ("callbacks", "compute_metrics", "eval_dataset") if name in options}
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.1,
        "save_steps": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    arguments = TrainingArguments(output_dir=str(output_dir), **{**settings, **options})
    return Trainer(model=Toy(), args=arguments, train_dataset=rows(), **facade)


def weights(trainer: Trainer) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]).tolist()


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
