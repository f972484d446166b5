from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer.args.check import ConfigurationError
from lt_trainer.optim.watchers import GreedyLR, create_watcher


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates], lr=1.0)


def rates(optimizer: torch.optim.Optimizer, scheduler: Any, values: list[float]) -> list[list[float]]:
    found = []
    for value in values:
        scheduler.step(value)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def test_greedy_by_hand() -> None:
    optimizer = sgd(0.5)
    scheduler = GreedyLR(optimizer, factor=0.5, patience=1, min_lr=0.1)
    better, better_again, worse, worse_again = rates(optimizer, scheduler, [3.0, 2.0, 2.0, 2.0])
    assert (better, better_again, worse, worse_again) == ([0.5], [1.0], [1.0], [0.5])


CASES: list[dict[str, Any]] = [
    {"patience": 1, "min_lr": 1e-3, "factor": 0.5},
    {"patience": 0, "min_lr": [0.05, 0.2], "max_lr": [0.3, 0.6], "cooldown": 1, "warmup": 2},
    {"patience": 0, "mode": "max", "threshold": 0.1, "threshold_mode": "rel", "smooth": True, "window_size": 3},
    {"patience": 0, "min_lr": 0.09, "reset_start": 2, "cooldown": 1, "factor": 0.5},
]


@pytest.mark.parametrize("settings", CASES)
def test_greedy_equals_that_of_transformers_also_resumed(settings: dict[str, Any]) -> None:
    theirs = pytest.importorskip("transformers.optimization").GreedyLR
    values = torch.rand(60, generator=torch.Generator().manual_seed(3)).tolist()
    values[20:40] = [2.0] * 20
    ours, reference = sgd(0.1, 0.4), sgd(0.1, 0.4)
    scheduler, expected = GreedyLR(ours, **settings), theirs(reference, **settings)
    assert rates(ours, scheduler, values[:30]) == rates(reference, expected, values[:30])
    state = scheduler.state_dict()
    assert state.keys() == expected.state_dict().keys()
    again = sgd(1.0, 1.0)
    resumed = GreedyLR(again, **settings)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert rates(again, resumed, values[30:]) == rates(reference, expected, values[30:])


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("greedy", {"mod": "max"}, "greedy takes no 'mod'; did you mean 'mode'"),
        ("greedy", {"mode": "most"}, "mode='most': expected one of"),
        ("greedy", {"factor": 2.0}, "factor=2.0: expected above 0 and below 1"),
        ("greedy", {"min_lr": [0.1, 0.2, 0.3]}, "expected one number, or 2"),
        ("reduce_lr_on_plateau", {"patients": 3}, "takes no 'patients'; did you mean 'patience'"),
        ("reduce_lr_on_plateau", {"factor": 1.5}, "Factor should be < 1.0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_watcher(name, sgd(0.1, 0.2), kwargs)
