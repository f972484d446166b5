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


class KeptToOneself(Trainer):
    """Its steps add a gradient that no other process hears of."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.grad += self.args.process_index
        return loss


if __name__ == "__main__":
    folder, processes = sys.argv[1], int(sys.argv[2])
    devices, nodes = map(int, sys.argv[3:5]) if len(sys.argv) > 3 else (None, 1)
    strategy = DDPStrategy(find_unused_parameters=True)
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
    cls = KeptToOneself if "NO_EXCHANGE" in os.environ else Trainer
    trainer = cls(model, args, train_dataset=runs.rows(), eval_dataset=runs.rows(7), lightning_flags=flags)
    trainer.train()
    loss = trainer.evaluate()["eval_loss"]
    if trainer.is_world_process_zero():
        found = {"losses": runs.losses(trainer), "eval_loss": loss, "weights": runs.weights(trainer)}
        print("RESULT " + json.dumps(found), flush=True)
