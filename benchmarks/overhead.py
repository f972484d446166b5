"""What the framework costs a step: `Trainer` beside `transformers.Trainer` and beside a bare loop, in one process.

    python benchmarks/overhead.py [--rounds 5] [--steps 200] [--clock wall] [--profile]

A BERT of `transformers` with one layer of width 64, so that what is around a step shows: the same rows, collator, fused
AdamW, linear schedule and clipping in all three, logs and saves off, one thread. The three run in turn, and the table
holds the median of their rounds in milliseconds a step.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
import transformers
from common import circumstances, quiet, table
from torch import nn
from torch.utils.data import DataLoader

import lt_trainer

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TOKENS = 8, 16
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def one_layer() -> nn.Module:
    """A BERT of one layer, of `transformers` in all three, so that only what is around it differs."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    config = transformers.BertConfig(vocab_size=100, max_position_embeddings=TOKENS, **sizes)
    return transformers.BertForSequenceClassification(config)


def rows_for(steps: int) -> list[dict[str, Any]]:
    """Enough rows for one epoch, all of one length."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (steps * BATCH, TOKENS), generator=draw).tolist()
    return [{"input_ids": row, "attention_mask": [1] * TOKENS, "labels": i % 2} for i, row in enumerate(ids)]


def bare(rows: list[dict[str, Any]], steps: int, clock: Callable[[], float]) -> float:
    """A loop as people write it."""
    model = one_layer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, (steps - step) / steps))
    loader = DataLoader(rows, BATCH, shuffle=True, collate_fn=lt_trainer.default_data_collator)
    model.train()
    start = clock()
    for batch in loader:
        loss = model(**batch)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return (clock() - start) / steps


def facade(library: Any) -> Callable[[list[dict[str, Any]], int, Callable[[], float]], float]:
    """The same through a library's `Trainer`; the seconds are those between its first step and its last."""

    class Times(library.TrainerCallback):
        start = end = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.start = self.start or self.clock()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.end = self.clock()

    def run(rows: list[dict[str, Any]], steps: int, clock: Callable[[], float]) -> float:
        times = Times()
        times.clock = clock
        with tempfile.TemporaryDirectory() as folder:
            args = library.TrainingArguments(
                **{"output_dir": folder, "num_train_epochs": 1, "per_device_train_batch_size": BATCH},
                **{"logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True},
                **{"use_cpu": True, "dataloader_pin_memory": False},
            )
            trainer = library.Trainer(model=one_layer(), args=args, train_dataset=rows, callbacks=[times])
            trainer.train()
        return (times.end - times.start) / (steps - 1)

    return run


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description="What the framework costs a step.")
    options.add_argument("--rounds", type=int, default=5, help="runs of each of the three")
    options.add_argument("--steps", type=int, default=200, help="optimizer steps of a run")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="seconds of the wall clock or the processor")
    options.add_argument("--profile", action="store_true", help="also print where our own steps take their time")
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for library in ("transformers", "lt_trainer"):
        quiet(library)
    ways = {"a bare loop": bare, "transformers": facade(transformers), "lt_trainer": facade(lt_trainer)}
    for run in ways.values():
        run(rows_for(20), 20, CLOCKS[asked.clock])
    rows = rows_for(asked.steps)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(asked.rounds):
        for name in ways if number % 2 == 0 else reversed(ways):
            times[name].append(ways[name](rows, asked.steps, CLOCKS[asked.clock]))
    medians = {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}
    least = medians["a bare loop"]
    print(
        table(
            ["", "ms a step", "over the bare loop"],
            [[name, f"{ms:.2f}", f"{ms - least:.2f}"] for name, ms in medians.items()],
        )
    )
    print(f"\nRounds of {asked.steps} steps: {asked.rounds}; {asked.clock} clock. {circumstances()}")
    if asked.profile:
        with cProfile.Profile() as profile:
            ways["lt_trainer"](rows, asked.steps, CLOCKS[asked.clock])
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
