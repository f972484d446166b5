"""What the processes of `test_brought.py` run: DDP as an object of Lightning's, on one machine or two; prints results.

usage: brought_script.py FOLDER PROCESSES [DEVICES NUM_NODES]
"""

from __future__ import annotations

import json
import os
import sys

import torch
from lightning.pytorch.strategies import DDPStrategy

torch.set_num_threads(1)

from lt_trainer import Trainer, TrainingArguments  # noqa: E402
from tests.faults import runs  # noqa: E402


def kept_to_oneself(state, bucket):
    """A communication hook that forgets to communicate."""
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


if __name__ == "__main__":
    folder, processes = sys.argv[1], int(sys.argv[2])
    devices, nodes = map(int, sys.argv[3:5]) if len(sys.argv) > 3 else (None, 1)
    hook = kept_to_oneself if "NO_EXCHANGE" in os.environ else None
    strategy = DDPStrategy(find_unused_parameters=True, ddp_comm_hook=hook)
    flags = {"strategy": strategy, "num_nodes": nodes} if devices else {}
    torch.manual_seed(0)
    model = runs.Toy()
    model.dropout.p = 0.0
    args = TrainingArguments(
        folder,
        num_train_epochs=2,
        per_device_train_batch_size=6 // processes,
        per_device_eval_batch_size=3,
        learning_rate=0.1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        devices=devices,
    )
    trainer = Trainer(model, args, train_dataset=runs.rows(), eval_dataset=runs.rows(7), lightning_flags=flags)
    trainer.train()
    loss = trainer.evaluate()["eval_loss"]
    if trainer.is_world_process_zero():
        found = {"losses": runs.losses(trainer), "eval_loss": loss, "weights": runs.weights(trainer)}
        print("RESULT " + json.dumps(found), flush=True)
