from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import lt_trainer
from lt_trainer.optim.named import get_scheduler

CALLS: dict[str, tuple[Any, ...]] = {
    "get_constant_schedule": (),
    "get_constant_schedule_with_warmup": (3,),
    "get_linear_schedule_with_warmup": (3, 10),
    "get_cosine_schedule_with_warmup": (3, 10, 1.5),
    "get_cosine_with_hard_restarts_schedule_with_warmup": (3, 10, 2),
    "get_polynomial_decay_schedule_with_warmup": (3, 10, 1e-4, 2.0),
    "get_inverse_sqrt_schedule": (3, 5),
    "get_cosine_with_min_lr_schedule_with_warmup": (3, 10, 0.5, -1, 1e-4),
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": (3, 10, 0.5, -1, None, 0.1, 0.2),
    "get_wsd_schedule": (3, 4, 12),
}


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.01)


def rates(optimizer: torch.optim.Optimizer, scheduler: Any) -> list[float]:
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("name", "arguments"), CALLS.items())
def test_functions_take_the_arguments_of_transformers_in_their_order(name: str, arguments: tuple[Any, ...]) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = sgd(), sgd()
    found = rates(ours, getattr(lt_trainer, name)(ours, *arguments))
    assert found == pytest.approx(rates(theirs, getattr(transformers, name)(theirs, *arguments)), rel=1e-12)


@pytest.mark.parametrize("name", ["reduce_on_plateau", "greedy"])
def test_schedules_that_follow_a_metric_take_their_arguments(name: str) -> None:
    scheduler = getattr(lt_trainer, f"get_{name}_schedule")(sgd(), patience=2)
    assert scheduler.patience == 2
    assert type(get_scheduler({"reduce_on_plateau": "reduce_lr_on_plateau"}.get(name, name), sgd())) is type(scheduler)


def test_a_member_of_the_enumeration_of_transformers_is_a_name() -> None:
    member = pytest.importorskip("transformers").SchedulerType.CONSTANT
    optimizer = sgd()
    assert rates(optimizer, get_scheduler(member, optimizer)) == [0.01] * 10


def test_steps_that_are_needed_and_missing_are_named() -> None:
    with pytest.raises(ValueError, match=r"linear needs \['num_training_steps'\]"):
        get_scheduler("linear", sgd(), 3)
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        get_scheduler("cosin", sgd(), 3, 10)
    with pytest.raises(ValueError, match="received neither"):
        lt_trainer.get_wsd_schedule(sgd(), 1, 2)
