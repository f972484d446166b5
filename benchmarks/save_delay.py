"""How long a save keeps training waiting, beside a copy of the same bytes in memory and beside `transformers`.

    python benchmarks/save_delay.py [--megabytes 500] [--saves 4] [--output_dir /some/disk]

Three numbers a save, in seconds:

    wait    from the end of the step that is saved to the beginning of the next one, less the same between two steps
            where nothing is saved
    slower  what the steps take longer that run while a thread writes, all together
    disk    until the folder is complete (`on_save`)

Expected: the wait of every save but the first is less than 1.5 copies. The first one takes its memory from the system.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import platform
import statistics
import tempfile
import time
import warnings
from typing import Any

import torch

ROWS, TOKENS, VOCABULARY, WIDTH = 64, 16, 4096, 768
BYTES_OF_A_WEIGHT = 12  # in a checkpoint: itself and two moments of Adam, float32
LIMIT = 1.5


def timeline(base: type) -> Any:
    """A callback of either library that notes when steps begin and end, and when saves are complete."""

    class Timeline(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.begun: dict[int, float] = {}
            self.ended: dict[int, float] = {}
            self.saved: dict[int, float] = {}

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.begun[state.global_step + 1] = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.ended[state.global_step] = time.perf_counter()

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.saved[state.global_step] = time.perf_counter()

    return Timeline()


def train(name: str, megabytes: int, saves: int, every: int, output_dir: str) -> Any:
    """Trains a BERT of the asked size with saves at every `every`-th step; returns the timeline."""
    library = importlib.import_module(name)
    configuration = importlib.import_module("lt_trainer.models.bert" if name == "lt_trainer" else name)
    config = configuration.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=max(1, round((megabytes * 1e6 / BYTES_OF_A_WEIGHT - VOCABULARY * WIDTH) / (12 * WIDTH**2))),
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=TOKENS,
    )
    torch.manual_seed(0)
    rows = [{"input_ids": torch.randint(5, VOCABULARY, (TOKENS,)).tolist(), "labels": i % 2} for i in range(ROWS)]
    times = timeline(library.TrainerCallback)
    arguments = library.TrainingArguments(
        output_dir=output_dir,
        max_steps=(saves + 1) * every,
        per_device_train_batch_size=1,
        save_steps=every,
        save_total_limit=1,
        logging_steps=10**6,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    model = library.AutoModelForSequenceClassification.from_config(config)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        library.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[times]).train()
    return times


def report(name: str, times: Any, every: int, saves: int) -> list[float]:
    """Prints a line a save; returns the waits in seconds."""
    steps = range(1, (saves + 1) * every)
    gaps = {step: times.begun[step + 1] - times.ended[step] for step in steps}
    quiet = statistics.median(gap for step, gap in gaps.items() if step % every)
    duration = {step: times.ended[step] - times.begun[step] for step in steps}
    normal = statistics.median(duration[step] for step in range(2, every))
    waits = []
    for save in range(every, saves * every + 1, every):
        waits.append(gaps[save] - quiet)
        slower = sum(duration[step] - normal for step in range(save + 1, save + every))
        disk = times.saved[save] - times.ended[save]
        print(f"  {name:12}  step {save:3}   wait {waits[-1]:6.3f}   slower {slower:6.3f}   disk {disk:6.3f}")
    print(f"  {'':12}  a step takes {normal:.3f}")
    return waits


def copy_times(megabytes: int, repeats: int = 5) -> tuple[float, float]:
    """Seconds of a copy into new memory (the slowest, which the system hands out) and into memory that was used."""
    values = [torch.ones(1_000_000) for _ in range(megabytes // 4)]
    new, used = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        copies = [value.clone() for value in values]
        new.append(time.perf_counter() - start)
        start = time.perf_counter()
        for copy, value in zip(copies, values, strict=True):
            copy.copy_(value)
        used.append(time.perf_counter() - start)
        del copies
    return max(new), statistics.median(used)


def main() -> int:
    """Measures both libraries; 0 where ours waits for less than `LIMIT` copies."""
    options = argparse.ArgumentParser(description="How long a save keeps training waiting.")
    options.add_argument("--megabytes", type=int, default=500, help="weights and moments of Adam together")
    options.add_argument("--saves", type=int, default=4, help="how many are measured")
    options.add_argument("--every", type=int, default=20, help="steps between two saves; enough to write one")
    options.add_argument("--output_dir", help="a folder on the disk to measure; a temporary one without it")
    asked = options.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    new, used = copy_times(asked.megabytes)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"a copy of {asked.megabytes} MB: {used:.3f} s into used memory, {new:.3f} s into new memory")
    waits: dict[str, list[float]] = {}
    for name in ("lt_trainer", "transformers"):
        with tempfile.TemporaryDirectory(dir=asked.output_dir) as folder:
            try:
                times = train(name, asked.megabytes, asked.saves, asked.every, folder)
            except ImportError as error:
                print(f"  {name}: left out, {error}")
                continue
        waits[name] = report(name, times, asked.every, asked.saves)
    typical = statistics.median(waits["lt_trainer"][1:])
    print(f"lt_trainer waits {typical / used:.2f} copies (expected less than {LIMIT})")
    return int(typical >= LIMIT * used)


if __name__ == "__main__":
    raise SystemExit(main())
