from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer.optim.adafactor import Adafactor, AdafactorSchedule, get_adafactor_schedule

SETTINGS: list[dict[str, Any]] = [
    {"lr": 0.01, "scale_parameter": False, "relative_step": False},
    {"lr": 0.01, "scale_parameter": True, "relative_step": False, "weight_decay": 0.1},
    {"lr": 0.01, "scale_parameter": False, "relative_step": False, "beta1": 0.9, "clip_threshold": 0.5},
    {},
    {"warmup_init": True},
]


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(9, 4), nn.LayerNorm(4)).to(dtype)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(5, 2, 4, generator=generator).to(next(net.parameters()).dtype)
        (net(x) - 0.5).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_and_state_equal_those_of_transformers(settings: dict[str, Any], dtype: torch.dtype) -> None:
    theirs = pytest.importorskip("transformers").Adafactor
    nets = [network(dtype), network(dtype)]
    ours, reference = (cls(net.parameters(), **settings) for cls, net in zip((Adafactor, theirs), nets, strict=True))
    train(nets[0], ours)
    train(nets[1], reference)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    a, b = ours.state_dict()["state"], reference.state_dict()["state"]
    assert {n: sorted(state) for n, state in a.items()} == {n: sorted(state) for n, state in b.items()}


def test_a_matrix_keeps_a_row_and_a_column() -> None:
    weight = nn.Parameter(torch.ones(3, 5))
    optimizer = Adafactor([weight], lr=0.1, relative_step=False)
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    assert (state["exp_avg_sq_row"].shape, state["exp_avg_sq_col"].shape) == ((3,), (5,))
    assert "exp_avg" not in state


def test_the_first_step_by_hand() -> None:
    """One number: the update is the gradient over its own size, which is 1 and not clipped."""
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = Adafactor([weight], lr=0.5, scale_parameter=False, relative_step=False)
    (3 * weight).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"lr": 0.1}, "lr=0.1 with relative_step=True"), ({"relative_step": False, "warmup_init": True}, "warmup_init")],
)
def test_arguments_that_exclude_each_other_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adafactor([nn.Parameter(torch.ones(1))], **arguments)


def test_the_schedule_shows_the_rates_that_are_chosen() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Adafactor([weight], scale_parameter=False)
    schedule = get_adafactor_schedule(optimizer, 0.25)
    assert isinstance(schedule, AdafactorSchedule)
    assert schedule.get_last_lr() == [0.25]
    for expected in (0.01, 0.01):  # the lesser of 0.01 and 1 / sqrt(step)
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
        schedule.step()
        assert schedule.get_last_lr() == [expected]
