"""What needs a GPU: fp16, bf16, FSDP2 and ZeRO on one device beside float32, and that steps do not wait for it.

    python benchmarks/gpu.py [--steps 60] [--ways fp32,bf16,fp16,fsdp,zero2] [--rehearse]

A small BERT from the same weights on the same rows. `waits` says whether a step between two logs made the host wait
for the GPU: with on_nan="ignore" torch then raises (`torch.cuda.set_sync_debug_mode("error")`), and the table shows
where. fp16 waits by itself, since its scaler asks whether a step was skipped; on_nan="stop" and "skip" wait once a
step, for the norm. `--rehearse` runs everything but fp16 on the CPU, to try this script; its times mean nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from typing import Any

import torch
from common import circumstances, quiet, table
from compile import pad, rows_for
from memory import model_of

import lt_trainer

LOG = 20
ZERO = {"zero_optimization": {"stage": 2}}
WAYS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"bf16": True},
    "fp16": {"fp16": True},
    "fsdp": {"bf16": True, "fsdp": "full_shard"},
    "zero2": {"bf16": True, "deepspeed": ZERO},
}
WAITS = ("fp16", "zero2")  # their engines ask the device in each step


class NoWaiting(lt_trainer.TrainerCallback):
    """Lets torch raise where a step waits for the device, from the second log on, but for steps that log."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See TrainerCallback."""
        watches = state.global_step > LOG and (state.global_step + 1) % LOG != 0
        torch.cuda.set_sync_debug_mode("error" if watches else "default")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See TrainerCallback."""
        if control.should_log or state.global_step >= state.max_steps:
            torch.cuda.set_sync_debug_mode("default")


def train(options: dict[str, Any], steps: int, *, on_cpu: bool, watches: bool) -> tuple[list[float], float]:
    """Losses, and seconds of the whole run."""
    with tempfile.TemporaryDirectory() as folder:
        args = lt_trainer.TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=1e-4,
            logging_steps=LOG,
            on_nan="ignore" if watches else "stop",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=on_cpu,
            devices=1,
            **options,
        )
        callbacks = [NoWaiting] if watches else []
        model, rows = model_of("bert", 4, 0.0), rows_for(steps)
        trainer = lt_trainer.Trainer(model, args, data_collator=pad, train_dataset=rows, callbacks=callbacks)
        trainer.remove_callback(lt_trainer.PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], seconds


def waits(options: dict[str, Any], steps: int) -> str:
    """Whether a step between logs waits for the device, and where."""
    try:
        train(options, steps, on_cpu=False, watches=True)
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        own = [f for f in traceback.extract_tb(error.__traceback__) if "lt_trainer" in f.filename]
        return f"yes, {own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}" if own else "yes"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no"


def row_of(way: str, steps: int, reference: list[float], *, on_cpu: bool) -> tuple[list[str], list[float]]:
    """A way's row of the table, and its losses."""
    losses, seconds = train(WAYS[way], steps, on_cpu=on_cpu, watches=False)
    far = max(abs(a - b) / abs(b) for a, b in zip(losses, reference or losses, strict=True))
    told = "not tried" if on_cpu else "by its engine" if way in WAITS else waits(WAYS[way], steps)
    return [way, f"{losses[0]:.4f}", f"{losses[-1]:.4f}", f"{far:.1e}", f"{1000 * seconds / steps:.1f}", told], losses


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    if not args.rehearse and not torch.cuda.is_available():
        raise SystemExit("expected a GPU of NVIDIA, torch finds none; --rehearse tries this script on the CPU")
    quiet("lt_trainer")
    rows, reference = [], []
    for way in args.ways.split(","):
        if args.rehearse and way == "fp16":
            continue
        row, losses = row_of(way, args.steps, reference, on_cpu=args.rehearse)
        reference = reference or losses
        rows.append(row)
    print(table(["way", "first loss", "last loss", "largest difference", "ms a step", "waits"], rows))
    device = "the CPU, rehearsing" if args.rehearse else torch.cuda.get_device_name()
    print(f"{circumstances()}; on {device}")


if __name__ == "__main__":
    main()
