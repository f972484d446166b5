"""Each task from raw rows in three ways: our facade, plain Lightning, and the example recipe of `transformers`.

    LT_TRAINER_DATA=folder python benchmarks/six_tasks.py [--tasks causal-lm,...] [--steps 20] [--rows 100] [--scratch]
    LT_TRAINER_DATA=folder python benchmarks/six_tasks.py --write      # puts the table into docs/benchmarks.md

All three begin with one folder, take the same rows, steps, learning rates and seed, and none has dropout (starts.py);
the recipes are in recipes.py. Seconds are those of the processor in `train` or `fit` alone, one thread a way. The three
ways of a task run at the same time. Exits with 1 where a metric is further apart than its LIMITS.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common import CLOCKS, circumstances, table, worker
from recipes import RECIPES
from starts import EXPERIMENTS, Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from starts import Splits

PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
BEGIN, END = "<!-- made by six_tasks.py -->", "<!-- end of what six_tasks.py made -->"
LIMITS = {"perplexity": 0.05, "loss": 0.01}  # as a share; of others, which are in percent, POINTS
POINTS = 1.0


class Run(NamedTuple):
    """A run that is ready to begin: trains, gives metrics, writes its model into a folder."""

    train: Callable[[], Any]
    evaluate: Callable[[], dict[str, float]]
    save: Callable[[str], Any]


class Found(NamedTuple):
    """Seconds of training, and metrics by their plain names."""

    seconds: float
    metrics: dict[str, float]


# --- three ways -------------------------------------------------------------------------------------------------------


def by_facade(task: str, start: str, rows: Splits, arguments: dict[str, Any]) -> Run:
    """`lt_trainer.Trainer(task=...)`."""
    from lt_trainer import PrinterCallback, Trainer, TrainingArguments

    trainer = Trainer(
        task=task,
        model=start,
        args=TrainingArguments(**arguments),
        train_dataset=rows.get("train"),
        eval_dataset=rows["eval"],
        data=EXPERIMENTS[task].options,
    )
    trainer.remove_callback(PrinterCallback)
    return Run(trainer.train, trainer.evaluate, trainer.save_model)


def by_lightning(task: str, start: str, rows: Splits, arguments: dict[str, Any]) -> Run:
    """`lightning.Trainer` with the task's module and data module; validation after the last step alone."""
    import lightning

    from lt_trainer.tasks.registry import find_task

    entry = find_task(task)
    home = importlib.import_module(entry.module)
    data = getattr(home, entry.data_class)(
        start,
        train=rows["train"],
        validation=rows["eval"],
        batch_size=arguments["per_device_train_batch_size"],
        eval_batch_size=arguments["per_device_eval_batch_size"],
        seed=arguments["seed"],
        **EXPERIMENTS[task].options,
    )
    module = getattr(home, entry.task_class)(
        start,
        learning_rate=arguments["learning_rate"],
        warmup_steps=arguments["warmup_steps"],
        **{name: getattr(data, source) for name, source in entry.linked.items()},
    )
    quietly = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_steps=arguments["max_steps"],
        accelerator="cpu",
        num_sanity_val_steps=0,
        check_val_every_n_epoch=arguments["max_steps"] + 1,
        enable_model_summary=False,
        **quietly,
    )
    data.setup()
    return Run(
        lambda: trainer.fit(module, datamodule=data),
        lambda: dict(trainer.validate(module, datamodule=data, verbose=False)[0]),
        module.model.save_pretrained,
    )


def by_recipe(task: str, start: str, rows: Splits, arguments: dict[str, Any]) -> Run:
    """`transformers.Trainer` as an example script has it."""
    import transformers

    transformers.set_seed(arguments["seed"])
    trainer, evaluate = RECIPES[task](start, rows, arguments, EXPERIMENTS[task].options)
    trainer.remove_callback(transformers.PrinterCallback)
    return Run(trainer.train, evaluate, trainer.save_model)


WAYS = {
    "facade": ("lt_trainer", by_facade),
    "lightning": ("lt_trainer", by_lightning),
    "recipe": ("transformers", by_recipe),
}


def run(way: str, task: str, start: str, rows: Splits, arguments: dict[str, Any], output: str) -> Found:
    """Trains, evaluates and saves in one way."""
    import torch

    torch.set_num_threads(1)
    made = WAYS[way][1](task, start, rows, arguments | {"output_dir": output})
    began = CLOCKS["cpu"]()
    made.train()
    seconds = CLOCKS["cpu"]() - began
    metrics = plain(made.evaluate())
    made.save(output)
    return Found(seconds, metrics)


def measure(task: str, model: str, start: str, rows: Splits, arguments: dict[str, Any]) -> dict[str, float]:
    """The facade's evaluation of a saved model, with the tokenizer of its start."""
    import lt_trainer

    lt_trainer.AutoTokenizer.from_pretrained(start).save_pretrained(model)
    return plain(by_facade(task, model, {"eval": rows["eval"]}, arguments | {"output_dir": model}).evaluate())


def plain(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics without `eval_` and `val_`."""
    return {re.sub("^(eval|val)_", "", name): float(value) for name, value in metrics.items()}


# --- one task ---------------------------------------------------------------------------------------------------------


def compare(task: str, data: Path, folder: Path, asked: argparse.Namespace, workers: dict[str, Any]) -> list[list[str]]:
    """The lines of a task, one a metric."""
    experiment = EXPERIMENTS[task]
    sizes = [asked.rows or experiment.train_rows, asked.rows or experiment.eval_rows]
    rows = experiment.read(data, folder, *sizes)
    start, steps = str(folder / "start"), asked.steps or experiment.steps
    Path(start).mkdir()
    words = experiment.start(start, rows, not asked.scratch)
    arguments = {
        **{"max_steps": steps, "learning_rate": experiment.learning_rate, "warmup_steps": steps // 10},
        **{"per_device_train_batch_size": experiment.batch_size, "per_device_eval_batch_size": 32, "seed": asked.seed},
        **{"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True},
    }
    begun = {way: workers[way].submit(run, way, task, start, rows, arguments, str(folder / way)) for way in WAYS}
    found = {way: job.result() for way, job in begun.items()}
    if experiment.measured:
        for way, (_, metrics) in found.items():
            given = (task, str(folder / way), start, rows, arguments)
            measured = workers["facade"].submit(measure, *given).result()
            metrics |= {name: measured[name] for name in experiment.measured}
    print(f"  {task}: {found}", file=sys.stderr, flush=True)
    what = f"{experiment.data}: {sizes[0]:,} / {sizes[1]:,}"
    return lines_of_task(task, experiment, what, words, f"{steps} x {experiment.batch_size}", found)


def lines_of_task(
    task: str, experiment: Experiment, data: str, start: str, steps: str, found: dict[str, Found]
) -> list[list[str]]:
    """A line a metric; what a task's lines have in common stands in the first."""
    common, lines = [task, data, start, steps], []
    seconds = [" / ".join(f"{found[way].seconds:.0f}" for way in WAYS)]
    for metric in (*experiment.metrics, *experiment.measured):
        scale = 100 if metric == "accuracy" or (metric, task) == ("f1", "token-classification") else 1
        values = [found[way].metrics[metric] * scale for way in WAYS]
        lines.append([*common, metric, *(f"{value:.3f}" for value in values), *seconds])
        common, seconds = [""] * len(common), [""]
    return lines


def apart(line: list[str]) -> float:
    """How far the three values of a line are apart, as a share of what LIMITS and POINTS allow."""
    values = [float(value) for value in line[5:8]]
    limit = LIMITS.get(line[4])
    return (max(values) - min(values)) / (POINTS if limit is None else limit * min(values))


# --- the table --------------------------------------------------------------------------------------------------------

HEAD = ["task", "data: rows to train on / held out", "start", "steps x rows", "metric"]
HEAD += ["`Trainer(task=...)`", "plain Lightning", "`transformers`", "seconds of training"]


def put(page: str, made: str) -> str:
    """A page with what was made between its markers."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"expected {BEGIN!r} and {END!r} in the page, received one without: put them where it belongs")
    return page[: page.index(BEGIN) + len(BEGIN)] + f"\n\n{made}\n\n" + page[page.index(END) :]


def parse() -> argparse.Namespace:
    """The command line, with the folder of the data in it."""
    options = argparse.ArgumentParser(description="Six tasks from raw rows in three ways.")
    options.add_argument("--tasks", default=",".join(EXPERIMENTS), help="some of the tasks, with commas")
    options.add_argument("--steps", type=int, help="optimizer steps, in place of each task's own")
    options.add_argument("--rows", type=int, help="most rows (lines of a text) to train on and to hold out, likewise")
    options.add_argument("--seed", type=int, default=42, help="of the order of rows, and of masks")
    options.add_argument("--scratch", action="store_true", help="no pretrained BERT, also where there is one")
    options.add_argument("--write", action="store_true", help=f"puts the table into {PAGE.parent.name}/{PAGE.name}")
    asked = options.parse_args()
    asked.data, asked.tasks = os.environ.get("LT_TRAINER_DATA"), asked.tasks.split(",")
    if asked.data is None:
        options.error("LT_TRAINER_DATA: expected a folder with sst2, wnut17 and the others, received nothing")
    if unknown := set(asked.tasks) - set(EXPERIMENTS):
        options.error(f"--tasks {unknown.pop()}: expected some of {', '.join(EXPERIMENTS)}")
    return asked


def main() -> int:
    """Prints the table, or writes it; 0 where the three ways agree."""
    asked = parse()
    workers = {way: worker(library) for way, (library, _) in WAYS.items()}
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LT_TRAINER_CACHE"] = f"{folder}/cache"
        try:
            for task in asked.tasks:
                Path(folder, task).mkdir()
                lines += compare(task, Path(asked.data), Path(folder, task), asked, workers)
        finally:
            for pool in workers.values():
                pool.shutdown(cancel_futures=True)
    made = f"{table(HEAD, lines)}\n\nOne thread a way, seed {asked.seed}. {circumstances()}"
    print(made)
    if asked.write:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    too_far = [line[4] for line in lines if apart(line) > 1]
    print(*(f"{metric}: further apart than expected" for metric in too_far), sep="\n", file=sys.stderr)
    return int(bool(too_far))


if __name__ == "__main__":
    raise SystemExit(main())
