"""Schedules of a DeepSpeed configuration against DeepSpeed's own."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from lt_trainer.optim import warmup_schedule

CASES = [
    ("WarmupLR", {"warmup_num_steps": 4}),
    ("WarmupLR", {"warmup_num_steps": 1, "warmup_type": "linear", "warmup_min_lr": 1e-4, "warmup_max_lr": 2e-3}),
    ("WarmupDecayLR", {"warmup_num_steps": 3, "total_num_steps": 10, "warmup_max_lr": 1e-3}),
    ("WarmupDecayLR", {"warmup_num_steps": 4, "total_num_steps": 9, "warmup_type": "linear", "warmup_max_lr": 1e-3}),
    ("WarmupCosineLR", {"warmup_num_steps": 3, "total_num_steps": 10, "cos_min_ratio": 0.1, "warmup_min_ratio": 0.2}),
]


def test_a_linear_warmup_by_hand() -> None:
    factor = warmup_schedule("WarmupLR", 1e-3, warmup_num_steps=4, warmup_type="linear")
    assert [factor(step) for step in range(7)] == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs the extra deepspeed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "params"), CASES)
def test_every_rate_equals_that_of_deepspeed(kind: str, params: dict[str, float]) -> None:
    from deepspeed.runtime import lr_schedules

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = getattr(lr_schedules, kind)(optimizer, **params)
    factor = warmup_schedule(kind, 1e-3, **params)  # type: ignore[arg-type]
    for step in range(14):
        assert 1e-3 * factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        theirs.step()
