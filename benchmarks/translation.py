"""Translation from raw text: our task beside the example recipe of `transformers`, on Multi30k (English to German).

    LT_TRAINER_DATA=folder python benchmarks/translation.py [--steps 400] [--seeds 1,2]

Both begin with the same random weights, read the same lines with the same tokenizer and take the same number of steps
of as many rows. The recipe is that of `run_translation.py`: tokenized by `text_target`, `DataCollatorForSeq2Seq`,
`Seq2SeqTrainer`. Ours is `Trainer(task="seq2seq", train_dataset=rows)`. Whoever trained it, a model is measured on the
same rows. Exits with 1 where the mean losses are more than `LIMIT` apart.
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

from common import LIBRARIES, circumstances, table, worker

TRAIN_ROWS, EVAL_ROWS, BATCH, MAX_LENGTH = 8000, 200, 16, 64
LIMIT = 0.02  # between the mean losses, as a share
Rows = list[dict[str, str]]


def read(folder: Path, split: str, count: int) -> Rows:
    """The first lines of a split."""
    english, german = (
        folder.joinpath(f"{split}.{end}").read_text(encoding="utf-8").splitlines() for end in ("en", "de")
    )
    return [{"source": a, "target": b} for a, b in list(zip(english, german, strict=True))[:count]]


def prepare(folder: str, rows: Rows) -> None:
    """Writes a small T5 with random weights, and a tokenizer that knows the words of the rows."""
    import torch

    import lt_trainer
    from lt_trainer.data.vocabulary import sentence_tokenizer
    from lt_trainer.tasks.seq2seq import small_t5

    tokenizer = sentence_tokenizer([text for row in rows for text in row.values()], size=6000)
    torch.manual_seed(0)
    lt_trainer.AutoModelForSeq2SeqLM.from_config(small_t5(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train(library: str, folder: str, rows: Rows, steps: int, seed: int, output: str) -> None:
    """Trains one model by the recipe of a library and saves it."""
    lib = importlib.import_module(library)
    arguments = lib.Seq2SeqTrainingArguments(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=2e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    tokenizer = lib.AutoTokenizer.from_pretrained(folder)
    model = lib.AutoModelForSeq2SeqLM.from_pretrained(folder)
    if library == "lt_trainer":
        trainer = lib.Trainer(
            task="seq2seq", model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, data=lengths()
        )
    else:
        trainer = recipe(lib, model, tokenizer, arguments, rows)
    trainer.remove_callback(lib.PrinterCallback)
    trainer.train()
    trainer.save_model(output)


def lengths() -> dict[str, int]:
    """Of both sides, in tokens."""
    return {"max_source_length": MAX_LENGTH, "max_target_length": MAX_LENGTH}


def recipe(lib: Any, model: Any, tokenizer: Any, arguments: Any, rows: Rows) -> Any:
    """The example script's way from texts to a trainer."""
    from datasets import Dataset

    encoded = tokenizer([row["source"] for row in rows], max_length=MAX_LENGTH, truncation=True)
    targets = tokenizer(text_target=[row["target"] for row in rows], max_length=MAX_LENGTH, truncation=True)
    columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return lib.Seq2SeqTrainer(
        model=model,
        args=arguments,
        data_collator=lib.DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=Dataset.from_dict({**columns, "labels": targets["input_ids"]}),
        processing_class=tokenizer,
    )


def measure(model: str, rows: Rows) -> tuple[float, float]:
    """Loss and chrF of a saved model."""
    import lt_trainer

    arguments = lt_trainer.TrainingArguments(
        output_dir=model, per_device_eval_batch_size=50, report_to="none", disable_tqdm=True, use_cpu=True
    )
    trainer = lt_trainer.Trainer(task="seq2seq", model=model, args=arguments, eval_dataset=rows, data=lengths())
    trainer.remove_callback(lt_trainer.PrinterCallback)
    metrics = trainer.evaluate()
    return metrics["eval_loss"], metrics["eval_chrf"]


def main() -> int:
    """Prints the table; 0 where the means agree."""
    options = argparse.ArgumentParser(description="Translation from raw text, by both libraries.")
    options.add_argument("--steps", type=int, default=400, help="optimizer steps")
    options.add_argument("--seeds", default="1,2", help="of the order of rows")
    asked = options.parse_args()
    data = os.environ.get("LT_TRAINER_DATA")
    if data is None:
        options.error("LT_TRAINER_DATA: expected a folder with multi30k/train.en and train.de, received nothing")
    rows, held_out = (read(Path(data) / "multi30k", *part) for part in (("train", TRAIN_ROWS), ("val", EVAL_ROWS)))
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    workers = {library: worker(library) for library in LIBRARIES}
    lines, losses = [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepare(f"{folder}/start", rows)
            for library, pool in workers.items():
                found = []
                for seed in seeds:
                    output = f"{folder}/{library}-{seed}"
                    pool.submit(train, library, f"{folder}/start", rows, asked.steps, seed, output).result()
                    found.append(workers["lt_trainer"].submit(measure, output, held_out).result())
                    print(f"  {library}, seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
                loss, chrf = (statistics.mean(values) for values in zip(*found, strict=True))
                losses.append(loss)
                each = (f"{one:.3f} / {other:.1f}" for one, other in found)
                lines.append([library, *each, f"{loss:.3f} / {chrf:.1f}"])
    finally:
        for pool in workers.values():
            pool.shutdown(cancel_futures=True)
    print(table(["recipe of", *(f"seed {seed}" for seed in seeds), "mean loss / chrF"], lines))
    apart = max(losses) / min(losses) - 1
    print(f"\nThe mean losses are {apart:.2%} apart (expected at most {LIMIT:.0%}).", end=" ")
    print(f"{asked.steps} steps of {BATCH} rows. {circumstances()}")
    return int(apart > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
