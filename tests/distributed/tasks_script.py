"""What the processes of `test_tasks.py` run: the tasks' scores and a user's overrides, on rows that two do not divide.

usage: tasks_script.py FOLDER PROCESSES
"""

from __future__ import annotations

import json
import sys

import torch

torch.set_num_threads(1)

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, DistributedSampler  # noqa: E402

from lt_trainer import Trainer, TrainingArguments, default_data_collator  # noqa: E402
from tests import writers  # noqa: E402
from tests.faults import runs  # noqa: E402
from tests.tasks import test_question_answering as qa  # noqa: E402
from tests.tasks import test_token_classification as ner  # noqa: E402

FOLDER, PROCESSES = sys.argv[1], int(sys.argv[2])
TASKS = {
    "token-classification": ("bert", ner.ROWS.select(range(13)), {"stride": 2, "max_length": 7}),
    "question-answering": ("bert", qa.MIXED.select(range(25)), qa.WINDOWS),
    "seq2seq": ("t5", writers.pairs(23), {}),
}


def arguments(rows, **options):
    """The same rows a step for any number of processes."""
    settings = {"learning_rate": 5e-3, "save_strategy": "no", "report_to": "none", "use_cpu": True, "logging_steps": 1}
    settings |= {"per_device_train_batch_size": rows // PROCESSES, "per_device_eval_batch_size": 3}
    return TrainingArguments(f"{FOLDER}/run", disable_tqdm=True, **{**settings, **options})


def numbers(metrics):
    return {name: value for name, value in metrics.items() if "second" not in name and "time" not in name}


class Own(Trainer):
    """A loss, a loader and a prediction of the user's."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs, labels=labels)
        loss = nn.functional.cross_entropy(outputs["logits"] * 2, labels, reduction="sum") / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def get_train_dataloader(self):
        sampler = DistributedSampler(self.train_dataset, PROCESSES, self.args.process_index, shuffle=False)
        rows = self.args.per_device_train_batch_size
        return DataLoader(self.train_dataset, rows, sampler=sampler, collate_fn=default_data_collator)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        return loss, logits * 10, labels


def main():
    found = {}
    for task, (model, rows, data) in TASKS.items():
        args = arguments(8, num_train_epochs=2)
        trainer = Trainer(
            task=task, model=f"{FOLDER}/{model}", args=args, train_dataset=rows, eval_dataset=rows, data=data
        )
        trainer.train()
        found[task] = {"losses": runs.losses(trainer), "metrics": numbers(trainer.evaluate())}
    torch.manual_seed(0)
    model = runs.Toy()
    model.dropout.p = 0.0
    calls = []

    def count(prediction):
        calls.append(len(prediction.label_ids))
        return {"largest": float(abs(prediction.predictions).max()), "labels": int(prediction.label_ids.sum())}

    trainer = Own(
        model, arguments(4, max_steps=4), train_dataset=runs.rows(), eval_dataset=runs.rows(7), compute_metrics=count
    )
    trainer.train()
    metrics = numbers(trainer.evaluate())
    found["overrides"] = {"losses": runs.losses(trainer), "weights": runs.weights(trainer), "metrics": metrics}
    if trainer.is_world_process_zero():
        print("RESULT " + json.dumps({**found, "calls": calls}), flush=True)


if __name__ == "__main__":
    main()
