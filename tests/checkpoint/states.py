"""Small checkpoints with everything in them, told apart by their step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lt_trainer.checkpoint.format import CheckpointState, write_checkpoint
from lt_trainer.files import AtomicFolder

if TYPE_CHECKING:
    from pathlib import Path


def state_at(step: int, *, only_model: bool = False, ranks: int = 1) -> CheckpointState:
    """A state whose weights are all `step`."""
    weights = {"layer.weight": torch.full((3, 4), float(step)), "layer.bias": torch.full((3,), float(step))}
    moments = {i: {"step": torch.tensor(float(step)), "exp_avg": torch.full((3,), 0.5 * step)} for i in range(2)}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1]}]
    return CheckpointState(
        model_state=weights,
        trainer_state={"global_step": step, "epoch": 0.5, "log_history": [{"loss": 1.5, "step": step}]},
        config={"model_type": "bert", "hidden_size": 4},
        optimizer=None if only_model else {"state": moments, "param_groups": groups},
        scheduler=None if only_model else {"last_epoch": step, "_last_lr": [1e-3], "lr_lambdas": [None]},
        rng=[] if only_model else [{"cpu": torch.arange(8)} for _ in range(ranks)],
        side={"callbacks": {"patience": step}},
        extras={"tokenizer.json": b'{"version": "1.0"}'},
    )


def save(output_dir: Path, step: int, *, only_model: bool = False, ranks: int = 1) -> Path:
    """Writes checkpoint-<step>."""
    final = output_dir / f"checkpoint-{step}"
    with AtomicFolder(final) as folder:
        write_checkpoint(folder, state_at(step, only_model=only_model, ranks=ranks))
    return final
