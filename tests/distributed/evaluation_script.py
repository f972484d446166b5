"""What the processes of `test_evaluation.py` run: evaluates data sets of one to nine rows in every way there is."""

from __future__ import annotations

import json
import sys

import torch

torch.set_num_threads(1)

import torch.distributed as dist  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset  # noqa: E402
from torchmetrics.classification import MulticlassAccuracy  # noqa: E402

from lt_trainer import Trainer, TrainingArguments  # noqa: E402
from tests.faults import runs  # noqa: E402


class Stream(IterableDataset):
    """Rows without a length."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def metrics(prediction, compute_result=True):
    """Counts what it is called for, and asks torchmetrics, which looks for other processes."""
    logits, labels = (torch.as_tensor(part) for part in prediction)
    calls.append(len(labels))
    accuracy.update(logits, labels)
    if not compute_result:
        return {}
    found = {"accuracy": accuracy.compute(), "rows": sum(calls), "ids": prediction.example_ids}
    accuracy.reset()
    return found


def whole(prediction):
    """For predictions that come as a list of batches."""
    return {"rows": sum(map(len, prediction.label_ids)), "batches": len(prediction.label_ids)}


def failing(prediction):
    """Fails where it is called."""
    raise ZeroDivisionError("no rows of class 2")


def build(function=metrics, cls=Trainer, **options):
    torch.manual_seed(0)
    settings = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "per_device_eval_batch_size": 2}
    return cls(runs.Toy(), TrainingArguments(sys.argv[1], **{**settings, **options}), compute_metrics=function)


class OwnLoader(Trainer):
    """Brings a loader of its own, which every process reads whole."""

    def get_eval_dataloader(self, eval_dataset=None):
        return DataLoader(eval_dataset, batch_size=2)


def numbers(found):
    return {name: value for name, value in found.items() if "second" not in name and "time" not in name}


def main():
    found = {}
    for count in range(1, 10):
        rows = runs.rows(count)
        for name, options in (("whole", {}), ("batches", {"batch_eval_metrics": True})):
            calls.clear()
            found[f"{name} {count}"] = numbers(build(**options).evaluate(rows)), sum(calls)
        calls.clear()
        found[f"stream {count}"] = numbers(build().evaluate(Stream(rows))), sum(calls)
        calls.clear()
        found[f"own {count}"] = numbers(build(cls=OwnLoader).evaluate(rows)), sum(calls)
        output = build(None).predict(rows)
        found[f"predict {count}"] = output.predictions.tolist(), output.label_ids.tolist()
    found["list"] = numbers(build(whole, eval_do_concat_batches=False).evaluate(runs.rows(9)))
    try:
        build(failing).evaluate(runs.rows(4))
    except (ZeroDivisionError, RuntimeError) as error:
        found["failure"] = type(error).__name__, "no rows of class 2" in str(error)
    everyone: list[object] = [found]
    if dist.is_initialized():
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, found)
    if not dist.is_initialized() or dist.get_rank() == 0:
        print("RESULT " + json.dumps(everyone), flush=True)


calls: list[int] = []
accuracy = MulticlassAccuracy(2, average="micro")

if __name__ == "__main__":
    main()
