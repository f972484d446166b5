"""What a run has done when it ends: rows, steps and epochs; and what it leaves in the process."""

from __future__ import annotations

import collections
import gc
import math
import random
import warnings
import weakref
from typing import Any

import pytest
import torch

from lt_trainer import Trainer, TrainerCallback, TrainingArguments
from tests.faults import runs

DRAW = random.Random(0)
CASES = [
    (DRAW.randrange(1, 41), DRAW.randrange(1, 6), DRAW.randrange(1, 6), epochs, drop_last)
    for epochs in (1, 2.5, 3)
    for drop_last in (False, True)
    for _ in range(6)
]


class Rows:
    """Counts how often each row is trained on, by the number in it."""

    def __init__(self, count: int) -> None:
        self.rows = [{**row, "number": i} for i, row in enumerate(runs.rows(count))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.rows[row]


class Model(runs.Toy):
    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[int] = collections.Counter()

    def forward(self, x: torch.Tensor, labels: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.update(number.tolist())
        return super().forward(x, labels)


def quiet(folder: Any, **options: Any) -> TrainingArguments:
    settings = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    return TrainingArguments(str(folder), **{**settings, **options})


@pytest.mark.parametrize(("count", "batch", "accumulation", "epochs", "drop_last"), CASES)
def test_rows_steps_and_epochs_are_as_many_as_were_told(tmp_path, count, batch, accumulation, epochs, drop_last):
    if drop_last and count < batch:
        pytest.skip("no batch: refused before training")
    planned: list[int] = []

    class Look(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            planned.append(state.max_steps)

    args = quiet(
        tmp_path,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        dataloader_drop_last=drop_last,
    )
    model = Model()
    trainer = Trainer(model, args, train_dataset=Rows(count), callbacks=[Look()])
    done = trainer.train()
    used = count - count % batch if drop_last else count  # rows of an epoch
    batches = math.ceil(used / batch)
    steps = math.ceil(batches / accumulation)
    assert done.global_step == planned[0] == math.ceil(epochs * steps)
    whole, rest = divmod(planned[0], steps)  # epochs, and steps of one more
    share = min(rest * accumulation, batches)
    assert sum(model.seen.values()) == whole * used + min(share * batch, used)
    assert max(model.seen.values()) <= whole + (rest > 0)
    if not drop_last:  # else a row may be among those that are left out, again and again
        assert [min(model.seen[row] for row in range(count)), used] == [whole, count]
    assert trainer.state.epoch == pytest.approx(whole + share / batches, rel=1e-12)


def test_a_trainer_that_is_dropped_frees_its_model_and_rows(tmp_path):
    rows = Rows(8)
    trainer = Trainer(Model(), quiet(tmp_path, max_steps=2, save_strategy="steps", save_steps=1), train_dataset=rows)
    trainer.train()
    trainer.evaluate(rows)
    kept = [weakref.ref(thing) for thing in (trainer, trainer.model, trainer.optimizer, rows)]
    del trainer, rows
    gc.collect()
    assert [reference() for reference in kept] == [None] * 4


def test_a_run_with_default_arguments_warns_of_nothing(tmp_path, tiny_bert):
    from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny_bert(head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [{**tokenizer("a good film"), "labels": i % 2} for i in range(8)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        args = TrainingArguments(str(tmp_path))
        trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
        trainer.train()
        trainer.evaluate()
        trainer.predict(rows)
    assert [str(warning.message) for warning in caught] == []


def test_rows_that_a_transform_makes_train(tmp_path, tiny_bert):
    """Its columns are seen by the collator alone (https://github.com/huggingface/transformers/issues/22119)."""
    from datasets import Dataset

    from lt_trainer import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    folder = tiny_bert(head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = Dataset.from_dict({"text": ["a good film", "the plot was dull"] * 4, "label": [1, 0] * 4})

    def tokenized(rows: dict[str, Any]) -> dict[str, Any]:
        return {**tokenizer(rows["text"], truncation=True), "labels": rows["label"]}

    losses = []
    for rows in (texts.with_transform(tokenized), texts.map(tokenized, batched=True)):
        torch.manual_seed(0)
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(folder),
            quiet(tmp_path, max_steps=3, logging_steps=1),
            train_dataset=rows,
            eval_dataset=rows,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        losses.append([*runs.losses(trainer), trainer.evaluate()["eval_loss"]])
    assert losses[0] == losses[1]


def test_dropout_is_on_from_the_first_step_and_after_each_evaluation(tmp_path, caplog):
    """Models are loaded in evaluation mode, and Lightning keeps the mode that it finds (lightning#20105)."""
    model = runs.Toy().eval()
    model.dropout.p = 1.0
    spread: list[tuple[bool, float]] = []

    def watch(module: Any, given: Any, output: Any) -> None:
        spread.append((module.training, float(output["logits"].var(dim=0).sum())))

    model.register_forward_hook(watch)
    args = quiet(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, per_device_train_batch_size=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Trainer(model, args, train_dataset=runs.rows(), eval_dataset=runs.rows(4)).train()
    training = [value for is_training, value in spread if is_training]
    assert training == [0.0] * 4
    assert all(value > 0 for is_training, value in spread if not is_training)
    assert "eval mode" not in caplog.text + "".join(str(warning.message) for warning in caught)
