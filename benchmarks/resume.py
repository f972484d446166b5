"""Stops training at every kind of moment, resumes it, and compares with a run that never stopped, bit for bit.

    python benchmarks/resume.py [--stops 3] [--tasks cls,clm] [--output_dir /some/folder]

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

import numpy as np
import torch

import lt_trainer
from lt_trainer import (
    AutoConfig,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from lt_trainer.data.builtin import load_builtin
from lt_trainer.data.texts import PackedTexts, TextsCollator
from lt_trainer.data.vocabulary import word_vocabulary, write_bert_vocabulary

NUM_ROWS, NUM_EPOCHS, BLOCK = 50, 3, 64
FAMILIES = {  # a tiny model of each, and what its dropout is called
    "bert": (
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
        ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
    "gpt2": (
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": BLOCK},
        ("embd_pdrop", "attn_pdrop", "resid_pdrop"),
    ),
    "t5": (
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
        ("dropout_rate",),
    ),
}
HEADS = {
    "cls": ("bert", "SequenceClassification"),
    "mlm": ("bert", "MaskedLM"),
    "ner": ("bert", "TokenClassification"),
    "qa": ("bert", "QuestionAnswering"),
    "clm": ("gpt2", "CausalLM"),
    "s2s": ("t5", "Seq2SeqLM"),
}
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
    order: str = "random"


CASES = [
    *itertools.starmap(Case, itertools.product(("cls", "mlm"), (0, 2), (1, 3), (0.0, 0.1))),
    *itertools.starmap(Case, itertools.product(("ner", "qa", "clm", "s2s"), (0, 2), (3,), (0.1,))),
    *itertools.starmap(Case, itertools.product(("cls",), (0, 2), (3,), (0.1,), ("group_by_length", "sequential"))),
]


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
    """Rows of each task and what reads them."""

    tokenizer: Any
    rows: dict[str, list[dict[str, Any]]]
    vocab_size: int


def read_data() -> Data:
    """Built-in text, tokenized, with targets that rules give; for masked words every sixth token is hidden."""
    rows = load_builtin("text-classification")["train"].select(range(NUM_ROWS))
    texts = list(rows["text"])
    vocabulary = word_vocabulary(texts)
    with tempfile.TemporaryDirectory() as folder:
        write_bert_vocabulary(folder, vocabulary, model_max_length=BLOCK)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = [dict(tokenizer(text, truncation=True)) for text in texts]
    ids = [row["input_ids"] for row in encoded]
    made = {
        "cls": [{**row, "labels": i % 2} for i, row in enumerate(encoded)],
        "mlm": [_hide(dict(row), tokenizer.mask_token_id, shift=i) for i, row in enumerate(encoded)],
        "ner": [{**row, "labels": [token % 2 for token in row["input_ids"]]} for row in encoded],
        "qa": [{**row, "start_positions": 1, "end_positions": len(row["input_ids"]) - 1} for row in encoded],
        "clm": [{"input_ids": row} for row in ids],
        "s2s": [{"input_ids": row, "labels": row[1:6] + row[-1:]} for row in ids],
    }
    return Data(tokenizer, made, len(vocabulary))


def _hide(row: dict[str, Any], mask: int, shift: int) -> dict[str, Any]:
    ids = list(row["input_ids"])
    hidden = {place for place in range(1, len(ids) - 1) if (place + shift) % 6 == 0} | {1}
    row["labels"] = [token if place in hidden else -100 for place, token in enumerate(ids)]
    row["input_ids"] = [mask if place in hidden else token for place, token in enumerate(ids)]
    return row


def rows_of(task: str, data: Data) -> tuple[Any, Any, Any]:
    """Rows to train on, rows to evaluate, and the collator; texts are packed."""
    rows = data.rows[task]
    if task == "clm":
        lengths = np.array([len(row["input_ids"]) for row in rows])
        return PackedTexts(rows, lengths, BLOCK), PackedTexts(rows[:6], lengths[:6], BLOCK), TextsCollator(0)
    classes = {"cls": DataCollatorWithPadding, "qa": DataCollatorWithPadding, "s2s": DataCollatorForSeq2Seq}
    return rows, rows[:6], classes.get(task, DataCollatorForTokenClassification)(data.tokenizer)


def build(case: Case, data: Data, output_dir: Path, callbacks: list[TrainerCallback]) -> Trainer:
    """A tiny model that evaluates, logs and saves in rhythms that do not fit each other."""
    torch.manual_seed(0)
    family, head = HEADS[case.task]
    sizes, dropouts = FAMILIES[family]
    none = dict.fromkeys(dropouts, case.dropout)
    config = AutoConfig.for_model(family, vocab_size=data.vocab_size, pad_token_id=0, **sizes, **none)
    train_rows, eval_rows, collator = rows_of(case.task, data)
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=NUM_EPOCHS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=case.accumulation,
        dataloader_num_workers=case.workers,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=3,
        train_sampling_strategy=case.order,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=3,
        logging_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    return Trainer(
        model=getattr(lt_trainer, f"AutoModelFor{head}").from_config(config),
        args=arguments,
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        data_collator=collator,
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
    options.add_argument("--tasks", default=",".join(HEADS), help=f"some of {', '.join(HEADS)}")
    options.add_argument("--output_dir", help="where runs are written; a temporary folder without it")
    asked = options.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    data, runs, wrong = read_data(), 0, 0
    print("task  order            workers  accumulation  dropout  resumed  mismatches", flush=True)
    for case in (case for case in CASES if case.task in asked.tasks.split(",")):
        with tempfile.TemporaryDirectory(dir=asked.output_dir) as folder, contextlib.redirect_stdout(io.StringIO()):
            count, bad = mismatches(case, data, Path(folder), asked.stops)
        settings = f"{case.task:4}  {case.order:15}  {case.workers:7}  {case.accumulation:12}  {case.dropout:7}"
        print(f"{settings}  {count:7}  {len(bad):10}")
        print(*(f"      {moment}" for moment in bad), sep="\n", end="\n" * bool(bad), flush=True)
        runs, wrong = runs + count, wrong + len(bad)
    print(f"{runs} runs resumed, {wrong} mismatches")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
