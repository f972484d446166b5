"""`lt-trainer demo`: trains a small text classifier and shows what came of it.

The order of things::

    main
      read_rows, load_builtin      rows to learn from and rows to test on
      majority, bag of words       what the model has to beat
      build_model                  a small BERT from scratch, or the folder that --model names
      Trainer.train                a bar, a line for each epoch, the best epoch kept
      save                         model and all_results.json at the top of output_dir
      report                       accuracies, three predictions in words, how to go on
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset

    from lt_trainer.trainer import Trainer

HELD_OUT = 10  # without --eval_file one row in so many is tested on


class Scores(NamedTuple):
    """Shares of the test rows that were right, and the class that the majority baseline answers."""

    majority_class: str
    majority: float
    bag_of_words: float
    model: float = float("nan")


def parser() -> argparse.ArgumentParser:
    """The options of `lt-trainer demo`; those of training have the names of TrainingArguments."""
    options = argparse.ArgumentParser(
        prog="lt-trainer demo",
        description="Train a small text classifier on built-in text, or on a CSV, TSV, JSON-lines or Parquet file.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument("--output_dir", default="runs/demo", help="where the model and its results go")
    data = options.add_argument_group("your own data")
    data.add_argument("--train_file", help="rows to learn from; without it the built-in text is used")
    data.add_argument("--eval_file", help=f"rows to test on; without it one row in {HELD_OUT} is held out")
    data.add_argument("--text_column", default="text", help="column with the text")
    data.add_argument("--label_column", default="label", help="column with the class: a name, or a number from 0")
    data.add_argument("--column_names", nargs="+", metavar="NAME", help="columns of a CSV or TSV without a header")
    model = options.add_argument_group("the model and its training")
    model.add_argument("--model", help="a folder or hub name to start from; without it a small BERT from scratch")
    model.add_argument("--num_train_epochs", type=float, default=12, help="passes over the training rows")
    model.add_argument("--learning_rate", type=float, help="peak; 1e-3 from scratch, 5e-5 with --model")
    model.add_argument("--per_device_train_batch_size", type=int, default=32, help="rows of a step")
    model.add_argument("--seed", type=int, default=42, help="of the weights and the order of the rows")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo and returns 0.

    Args:
        argv: options; None: the command line's.

    Raises:
        ValueError, OSError: a file, a column or an option that cannot be used; nothing was written.
    """
    options = parser().parse_args(argv)
    start = time.monotonic()
    _title("lt-trainer demo")
    print("  loading PyTorch and Lightning ...", flush=True)
    import torch

    from lt_trainer.data.labels import encode_labels, label_names_of
    from lt_trainer.files import ensure_writable

    if options.model is None:
        # With two threads on a machine busy with other work a step took 1 to 3 s, with one about 0.04 s.
        torch.set_num_threads(1)
    ensure_writable(options.output_dir)
    rows = _read(options)
    names = label_names_of(rows.values(), options.label_column)
    rows = {split: encode_labels(part, options.label_column, names) for split, part in rows.items()}
    scores = _show_data(rows, names, options)
    trainer = _prepare(options, rows, names)
    _train(trainer)
    metrics = trainer.evaluate()
    scores = scores._replace(model=metrics["eval_accuracy"])
    _save(trainer, options.output_dir, scores, metrics)
    _report(scores, len(rows["eval"]))
    _show_predictions(rows["eval"], names, options)
    _show_way_on(options, time.monotonic() - start)
    return 0


# --- data and baselines -----------------------------------------------------------------------------------------------


def _read(options: argparse.Namespace) -> dict[str, Dataset]:
    from lt_trainer.data.builtin import load_builtin
    from lt_trainer.data.readers import read_rows

    if options.train_file is None:
        if options.eval_file is not None:
            raise ValueError(
                f"--eval_file {options.eval_file}: expected --train_file beside it: name the rows to train on, "
                "or leave it out"
            )
        return dict(load_builtin("text-classification"))
    files = {"train": options.train_file, "eval": options.eval_file}
    rows = {
        split: read_rows(
            path,
            text_columns=[options.text_column],
            label_column=options.label_column,
            column_names=options.column_names,
        )
        for split, path in files.items()
        if path is not None
    }
    if "eval" not in rows:
        rows |= _hold_out(rows["train"], options.seed)
    return rows


def _hold_out(rows: Dataset, seed: int) -> dict[str, Dataset]:
    if len(rows) < 2:
        raise ValueError(
            f"--train_file: expected two rows or more, so that one can be held out, received {len(rows)}: "
            "add rows, or give --eval_file"
        )
    parts = rows.train_test_split(test_size=max(1, len(rows) // HELD_OUT), seed=seed)
    return {"train": parts["train"], "eval": parts["test"]}


def _show_data(rows: dict[str, Dataset], names: list[str], options: argparse.Namespace) -> Scores:
    """Shows what there is to learn, and measures the baselines."""
    from lt_trainer.baselines import BagOfWords, majority_accuracy

    texts = {split: list(part[options.text_column]) for split, part in rows.items()}
    labels = {split: list(part["labels"]) for split, part in rows.items()}
    _title("the task")
    if options.train_file is None:
        print("  Somebody compares two things. Which one would they rather have: the one named first, or second?")
    print(
        f"  {len(texts['train']):,} rows to learn from, {len(texts['eval']):,} to test on; classes: {_listed(names)}\n"
    )
    width = max(map(len, names[:3]))
    for number in range(min(3, len(names))):
        example = next((t for t, y in zip(texts["train"], labels["train"], strict=True) if y == number), None)
        if example is not None:
            print(f"  {names[number]:<{width}}  {_shortened(example, _columns() - width - 4)}")
    majority_class, majority = majority_accuracy(labels["train"], labels["eval"])
    bag_of_words = BagOfWords(texts["train"], labels["train"], len(names))
    scores = Scores(names[majority_class], majority, bag_of_words.accuracy(texts["eval"], labels["eval"]))
    _title("to beat")
    print(f"  {scores.majority:6.1%}  always {names[majority_class]!r}, the commonest class")
    print(f"  {scores.bag_of_words:6.1%}  a bag of words: which words occur, wherever they stand")
    return scores


# --- training ---------------------------------------------------------------------------------------------------------


def _prepare(options: argparse.Namespace, rows: dict[str, Dataset], names: list[str]) -> Trainer:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.callbacks.epoch_lines import EpochLines
    from lt_trainer.callbacks.progress import ProgressCallback
    from lt_trainer.seeds import set_seed
    from lt_trainer.tasks.text_classification import TextClassification, TextClassificationData
    from lt_trainer.trainer import Trainer

    args = TrainingArguments(
        output_dir=options.output_dir,
        num_train_epochs=options.num_train_epochs,
        learning_rate=options.learning_rate or (1e-3 if options.model is None else 5e-5),
        warmup_ratio=0.1,
        weight_decay=0.01,
        per_device_train_batch_size=options.per_device_train_batch_size,
        per_device_eval_batch_size=128,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        logging_steps=10,
        seed=options.seed,
    )
    set_seed(options.seed)
    if options.model is None:
        model, tokenizer = build_model(list(rows["train"][options.text_column]), names)
    else:
        model, tokenizer = options.model, options.model
    data = TextClassificationData(
        tokenizer,
        train=rows["train"],
        validation=rows["eval"],
        text_column=options.text_column,
        label_column="labels",
        label_names=names,
    )
    task = TextClassification(model, label_names=names, vocab_size=data.vocab_size)
    trainer = Trainer(args=args, task=task, data=data)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(EpochLines())
    return trainer


def build_model(texts: list[str], label_names: list[str]) -> tuple[Any, Any]:
    """A small BERT with fresh weights, and a tokenizer with the words of `texts`.

    Returns:
        The classifier (2 layers of width 128, 128 positions) and its tokenizer.
    """
    from lt_trainer.data.vocabulary import SCRATCH, scratch_tokenizer
    from lt_trainer.models.auto import AutoModelForSequenceClassification
    from lt_trainer.tasks.start import start_model

    tokenizer = scratch_tokenizer(texts)
    head = AutoModelForSequenceClassification
    return start_model(SCRATCH, head, vocab_size=len(tokenizer), label_names=label_names), tokenizer


def _train(trainer: Trainer) -> None:
    weights = sum(parameter.numel() for parameter in trainer.model.parameters())
    config: Any = trainer.model.config
    _title("training")
    size = f"{config.model_type}, {weights / 1e6:.2f} million weights"
    print(f"  {size}; {len(trainer.train_dataset):,} rows an epoch; * marks the best so far\n")
    sys.stdout.flush()
    trainer.train()


# --- results ----------------------------------------------------------------------------------------------------------


def _save(trainer: Trainer, output_dir: str, scores: Scores, metrics: dict[str, float]) -> None:
    from lt_trainer.files import update_folder

    trainer.save_model()
    results = {
        **metrics,
        "majority_accuracy": scores.majority,
        "bag_of_words_accuracy": scores.bag_of_words,
        "train_runtime": next(e["train_runtime"] for e in trainer.state.log_history if "train_runtime" in e),
    }
    with update_folder(output_dir) as top:
        top.write_json("all_results.json", results)


def _report(scores: Scores, num_rows: int) -> None:
    _title(f"accuracy on {num_rows:,} rows that it did not learn from (they chose the best epoch)")
    table = {
        f"always {scores.majority_class!r}": scores.majority,
        "bag of words": scores.bag_of_words,
        "this model": scores.model,
    }
    width = max(map(len, table))
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    for name, score in table.items():
        print(f"  {name:<{width}}  {score:6.1%}  {block * round(score * 40)}")


def _show_predictions(rows: Dataset, names: list[str], options: argparse.Namespace) -> None:
    """Loads what was saved, as a user would, and classifies a test row of each of three classes."""
    import torch

    from lt_trainer.models.auto import AutoModelForSequenceClassification
    from lt_trainer.tokenization import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.output_dir)
    model = AutoModelForSequenceClassification.from_pretrained(options.output_dir)
    picked = _one_of_each(list(rows["labels"]), 3)
    texts, labels = rows[picked][options.text_column], rows[picked]["labels"]
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        score_B, class_B = model(**batch).logits.softmax(-1).max(-1)
    _title("three of them, as the model in " + options.output_dir + " reads them")
    for text, label, number, score in zip(texts, labels, class_B.tolist(), score_B.tolist(), strict=True):
        verdict = "right" if number == label else f"wrong: it is {names[label]}"
        print(f"  {_shortened(text, _columns() - 4)}\n    -> {names[number]} ({score:.0%}), {verdict}")


def _one_of_each(labels: list[int], count: int) -> list[int]:
    """Places of the first `count` rows that differ in their labels; of any others where there are too few."""
    firsts = sorted({label: i for i, label in reversed(list(enumerate(labels)))}.values())
    others = [i for i in range(len(labels)) if i not in firsts]
    return sorted((firsts + others)[:count])


def _show_way_on(options: argparse.Namespace, seconds: float) -> None:
    folder = options.output_dir
    _title(f"done in {seconds:.0f} seconds; the best model, its tokenizer and all_results.json are in {folder}")
    commands = {
        f"tensorboard --logdir {folder}/runs": "curves of loss and accuracy",
        "lt-trainer demo --train_file FILE.csv --text_column text --label_column label": "rows of your own",
        "lt-trainer demo --train_file FILE.csv --model FOLDER_OR_HUB_NAME": "from a pretrained model",
        f"lt-trainer predict --task text-classification --model {folder} --test_file FILE.csv": "classify a file",
    }
    print("  go on with")
    for command, meaning in commands.items():
        print(f"    {command}\n        {meaning}")


def _title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def _columns() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def _shortened(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: max(1, width - 3)] + "..."


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
