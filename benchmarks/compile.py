"""`torch_compile=True` on ragged batches: how often something is compiled, losses beside eager's, ms a step.

    python benchmarks/compile.py [--steps 500] [--backend inductor] [--families bert,gpt2,t5]

A small model of each family on rows of 4 to 64 tokens, so that no two batches have the same shape; the same seed and no
dropout in both runs. Times are the processor's, of the second half of the steps: by then everything is compiled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
from common import circumstances, quiet, table
from memory import VOCABULARY, model_of
from torch._dynamo.utils import counters

import lt_trainer

BATCH = 8


def rows_for(steps: int) -> list[dict[str, Any]]:
    """Rows of random lengths, enough for one epoch."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 65, (steps * BATCH,), generator=draw).tolist()
    ids = [torch.randint(5, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]
    return [{"input_ids": row, "attention_mask": [1] * len(row), "labels": row} for row in ids]


def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Right padding; labels of padding are left out of the loss."""
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {n: torch.tensor([row[n] + [f] * (width - len(row[n])) for row in rows]) for n, f in fill.items()}


class Clock(lt_trainer.TrainerCallback):
    """Notes the processor's seconds at the end of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See TrainerCallback."""
        self.seconds.append(time.process_time())


def run(family: str, steps: int, **options: Any) -> tuple[list[float], float]:
    """Losses of all steps, and milliseconds a step of the second half."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = lt_trainer.TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-4,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        model, rows = model_of(family, 2, 0.0), rows_for(steps)
        trainer = lt_trainer.Trainer(model, args, data_collator=pad, train_dataset=rows, callbacks=[clock])
        trainer.remove_callback(lt_trainer.PrinterCallback)
        trainer.train()
    half = clock.seconds[len(clock.seconds) // 2 :]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, 1000 * (half[-1] - half[0]) / (len(half) - 1)


def row_of(family: str, steps: int, backend: str) -> list[str]:
    """A family's row of the table."""
    eager, ms = run(family, steps)
    torch._dynamo.reset()
    counters.clear()
    compiled, ms_compiled = run(family, steps, torch_compile=True, torch_compile_backend=backend)
    count = counters["stats"]["unique_graphs"]
    far = max(abs(a - b) / abs(b) for a, b in zip(compiled, eager, strict=True))
    return [family, str(steps), str(count), f"{far:.1e}", f"{ms:.1f}", f"{ms_compiled:.1f}"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--families", default="bert,gpt2,t5")
    args = parser.parse_args()
    quiet("lt_trainer")
    torch.set_num_threads(1)
    head = ["family", "steps", "compilations", "largest difference of a loss", "ms a step, eager", "ms, compiled"]
    print(table(head, [row_of(family, args.steps, args.backend) for family in args.families.split(",")]))
    print(circumstances())


if __name__ == "__main__":
    main()
