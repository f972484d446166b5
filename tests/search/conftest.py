"""A search over a tiny model that needs milliseconds a trial."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from torch import nn

from lt_trainer import Trainer, TrainingArguments


class Line(nn.Module):
    """y = weight x, trained towards 2: the higher the learning rate, below 0.5, the lower the loss after few steps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        y = x * self.weight
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}


ROWS = Dataset.from_dict({"x": [[1.0], [2.0]] * 4, "labels": [[2.0], [4.0]] * 4})


@pytest.fixture
def build(tmp_path):
    def make(trainer_class=Trainer, model_init=Line, callbacks=(), compute_metrics=None, **options):
        settings = {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.1,
            "max_grad_norm": 0.0,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "eval_strategy": "steps",
            "eval_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return trainer_class(
            model_init=model_init,
            args=TrainingArguments(**{**settings, **options}),
            train_dataset=ROWS,
            eval_dataset=ROWS,
            callbacks=list(callbacks),
            compute_metrics=compute_metrics,
        )

    return make


def rates(trial):
    return {"learning_rate": trial.suggest_categorical("learning_rate", [0.01, 0.02, 0.05, 0.1])}
