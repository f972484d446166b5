"""Stops training at every kind of moment, resumes it, and compares with a run that never stopped, bit for bit.

    python benchmarks/resume.py [--stops 3] [--output_dir /some/folder]

A run ends by an exception in the n-th call of an event, so nothing is saved for the occasion: what goes on is the
checkpoint that happened to be the last one. Weights and `log_history` (times left out) must be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lt_trainer import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from lt_trainer.data.builtin import load_builtin
from lt_trainer.data.vocabulary import word_vocabulary, write_bert_vocabulary
from lt_trainer.models.bert import BertConfig

NUM_ROWS, NUM_EPOCHS = 50, 3
EVENTS = {
    "on_epoch_begin": "beginning of an epoch",
    "on_substep_end": "inside an accumulation",
    "on_optimizer_step": "between optimizer and schedule",
    "on_step_end": "before log, evaluation and save",
    "on_evaluate": "after an evaluation",
    "on_save": "after a save",
    "on_epoch_end": "end of an epoch",
}


class Case(NamedTuple):
    """What varies between runs."""

    task: str
    workers: int
    accumulation: int
    dropout: float


class Stopped(Exception):
    """The end that no run expects."""


class StopAt(TrainerCallback):
    """Raises in the n-th call of an event."""

    def __init__(self, event: str, count: int) -> None:
        self.left = count
        setattr(self, event, self._count)

    def _count(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Stopped


class Data(NamedTuple):
    """Rows of both tasks and what reads them."""

    tokenizer: Any
    cls: list[dict[str, Any]]
    mlm: list[dict[str, Any]]
    vocab_size: int


def read_data() -> Data:
    """Built-in text, tokenized; for masked words every sixth token is hidden."""
    rows = load_builtin("text-classification")["train"].select(range(NUM_ROWS))
    texts = list(rows["text"])
    vocabulary = word_vocabulary(texts)
    with tempfile.TemporaryDirectory() as folder:
        write_bert_vocabulary(folder, vocabulary, model_max_length=64)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    cls = [{**tokenizer(text, truncation=True), "labels": int(i % 2)} for i, text in enumerate(texts)]
    mlm = [_hide(dict(row), tokenizer.mask_token_id, shift=i) for i, row in enumerate(cls)]
    return Data(tokenizer, cls, mlm, len(vocabulary))


def _hide(row: dict[str, Any], mask: int, shift: int) -> dict[str, Any]:
    ids = list(row["input_ids"])
    hidden = {place for place in range(1, len(ids) - 1) if (place + shift) % 6 == 0} | {1}
    row["labels"] = [token if place in hidden else -100 for place, token in enumerate(ids)]
    row["input_ids"] = [mask if place in hidden else token for place, token in enumerate(ids)]
    return row


def build(case: Case, data: Data, output_dir: Path, callbacks: list[TrainerCallback]) -> Trainer:
    """A tiny BERT that evaluates, logs and saves in rhythms that do not fit each other."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=data.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
    )
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=NUM_EPOCHS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=case.accumulation,
        dataloader_num_workers=case.workers,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=3,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=3,
        logging_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    auto = AutoModelForSequenceClassification if case.task == "cls" else AutoModelForMaskedLM
    collator = DataCollatorWithPadding if case.task == "cls" else DataCollatorForTokenClassification
    rows = data.cls if case.task == "cls" else data.mlm
    return Trainer(
        model=auto.from_config(config),
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows[:6],
        data_collator=collator(data.tokenizer),
        callbacks=callbacks,
    )


def outcome(trainer: Trainer) -> tuple[Any, ...]:
    """All that two equal runs have in common."""
    history = [
        {name: value for name, value in entry.items() if not name.endswith(("runtime", "per_second"))}
        for entry in trainer.state.log_history
    ]
    return history, {name: value.tolist() for name, value in trainer.model.state_dict().items()}


def resumed(case: Case, data: Data, folder: Path, event: str, count: int) -> tuple[Any, ...] | None:
    """What a run that was stopped comes to; None where it ended before the event had come so often."""
    try:
        build(case, data, folder, [StopAt(event, count)]).train()
    except Stopped:
        pass
    else:
        return None
    trainer = build(case, data, folder, [])
    trainer.train(resume_from_checkpoint=any(folder.glob("checkpoint-*")))
    return outcome(trainer)


def mismatches(case: Case, data: Data, root: Path, stops: int) -> tuple[int, list[str]]:
    """Runs that were resumed, and the moments after which they ended differently."""
    whole = build(case, data, root / "whole", [])
    whole.train()
    expected, count, bad = outcome(whole), 0, []
    for event, number in itertools.product(EVENTS, range(1, stops + 1)):
        folder = root / f"{event}-{number}"
        found = resumed(case, data, folder, event, 3 * number - 1)
        shutil.rmtree(folder, ignore_errors=True)
        count += found is not None
        if found is not None and found != expected:
            bad.append(f"{EVENTS[event]}, {3 * number - 1}. time")
    return count, bad


def main() -> int:
    """Prints a table; 0 where nothing differed."""
    options = argparse.ArgumentParser(description="Resumed runs beside runs that never stopped.")
    options.add_argument("--stops", type=int, default=2, help="moments of each kind")
    options.add_argument("--output_dir", help="where runs are written; a temporary folder without it")
    asked = options.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    data, runs, wrong = read_data(), 0, 0
    print("task  workers  accumulation  dropout  resumed  mismatches", flush=True)
    for case in itertools.starmap(Case, itertools.product(("cls", "mlm"), (0, 2), (1, 3), (0.0, 0.1))):
        with tempfile.TemporaryDirectory(dir=asked.output_dir) as folder, contextlib.redirect_stdout(io.StringIO()):
            count, bad = mismatches(case, data, Path(folder), asked.stops)
        print(f"{case.task:4}  {case.workers:7}  {case.accumulation:12}  {case.dropout:7}  {count:7}  {len(bad):10}")
        print(*(f"      {moment}" for moment in bad), sep="\n", end="\n" * bool(bad), flush=True)
        runs, wrong = runs + count, wrong + len(bad)
    print(f"{runs} runs resumed, {wrong} mismatches")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
