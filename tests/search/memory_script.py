"""What `test_memory.py` runs: thirty trials of a model of 8 MB; prints MB held each time that a model is made."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import optuna
import torch
from datasets import Dataset
from torch import nn

from lt_trainer import Trainer, TrainingArguments

torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Wide(nn.Module):
    """2 million weights, and as many numbers twice again in Adam."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(1, 1_000_000, bias=False), nn.Linear(1_000_000, 1, bias=False)

    def forward(self, x, labels):
        y = self.outer(self.inner(x) * 1e-6)
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}


def main(output_dir, n_trials):
    rows = Dataset.from_dict({"x": [[1.0], [2.0]] * 2, "labels": [[2.0], [4.0]] * 2})
    held = []

    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)  # of glibc: gives back what is free

    def init():
        trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return Wide()

    args = TrainingArguments(
        output_dir=output_dir,
        max_steps=2,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model_init=init, args=args, train_dataset=rows, eval_dataset=rows)
    trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True)},
        n_trials=int(n_trials),
    )
    print("RESULT " + json.dumps(held), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
