"""What the processes of `test_processes.py` run: a search over a tiny model; process 0 prints how the study went."""

from __future__ import annotations

import json
import os
import signal
import sys

import optuna
import torch
from datasets import Dataset
from torch import nn

from lt_trainer import Trainer, TrainerCallback, TrainingArguments

torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        y = x * self.weight
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}


class KillsAt(TrainerCallback):
    """Ends the process as a power cut would, in the middle of its n-th trial."""

    def __init__(self, trial):
        self.left = trial

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(output_dir, n_trials, storage=None, kill_at="0"):
    rows = Dataset.from_dict({"x": [[1.0], [2.0]] * 4, "labels": [[2.0], [4.0]] * 4})
    args = TrainingArguments(
        output_dir=output_dir,
        max_steps=4,
        per_device_train_batch_size=4,
        optim="sgd",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        ddp_timeout=120,
    )
    trainer = Trainer(
        model_init=Line,
        args=args,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[KillsAt(int(kill_at))] if int(kill_at) else [],
    )
    options = {} if storage is None else {"storage": storage, "study_name": "s", "load_if_exists": True}

    def space(trial):
        number = trial.suggest_int("n", 0, 0) + trial.number
        return {"learning_rate": 0.02 if number == 1 else 0.1}

    best = trainer.hyperparameter_search(
        space,
        n_trials=int(n_trials),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2),
        **options,
    )
    assert trainer.args.output_dir == output_dir
    if trainer.is_world_process_zero():
        states = [trial.state.name for trial in best.run_summary.trials]
        weight = trainer.model.weight.item()
        print("RESULT " + json.dumps({"states": states, "best": best.run_id, "weight": weight}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
