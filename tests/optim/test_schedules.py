from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import Optimization, plan
from lt_trainer.optim import SCHEDULES, create_scheduler, schedule
from tests.faults import runs

if TYPE_CHECKING:
    from pathlib import Path


def optimization(**arguments: Any) -> Optimization:
    return plan(TrainingArguments("out", **arguments), Facts(num_train_rows=80)).optimizer


def test_linear_schedule_by_hand() -> None:
    factor = schedule("linear", 2, 6, learning_rate=1.0, kwargs={})
    assert [factor(step) for step in range(8)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


CASES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.5}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 7}),
    ("cosine_with_min_lr", {"min_lr": 1e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 1.0}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 4}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "min_lr_ratio": 0.1, "num_cycles": 1.0}),
    *(
        ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": up, "decay_type": down})
        for up, down in itertools.product(("linear", "cosine", "1-sqrt"), repeat=2)
    ),
]


def rates(scheduler: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_every_rate_equals_that_of_transformers(name: str, kwargs: dict[str, Any]) -> None:
    get_scheduler = pytest.importorskip("transformers").get_scheduler
    for warmup, total in [(0, 10), (3, 10), (5, 17), (1, 1)]:
        if name == "polynomial" and warmup >= total:
            continue  # a division by zero there
        steps = total if name == "polynomial" else total + 3
        ours, theirs = (torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1e-3) for _ in range(2))
        planned = dataclasses.replace(
            optimization(), scheduler=name, scheduler_kwargs=kwargs, warmup_steps=warmup, total_steps=total
        )
        found = rates(create_scheduler(ours, planned), ours, steps)
        expected = rates(get_scheduler(name, theirs, warmup, total, kwargs), theirs, steps)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_each_step_of_a_run_has_the_rate_of_its_number(tmp_path: Path, name: str, accumulation: int) -> None:
    """Three epochs of 16 rows: with 3 micro-batches of 3 rows a step, each epoch ends in a short batch and window."""
    transformers = pytest.importorskip("transformers")
    kwargs = next(kwargs for case, kwargs in reversed(CASES) if case == name)
    rate, batches = 0.1, 6
    steps = 3 * -(-batches // accumulation)
    trainer = runs.build(
        tmp_path,
        max_steps=-1,
        num_train_epochs=3,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=accumulation,
        learning_rate=rate,
        lr_scheduler_type=name,
        lr_scheduler_kwargs=kwargs,
        warmup_steps=2,
        save_strategy="no",
    )
    trainer.train()
    found = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=rate)
    expected = rates(transformers.get_scheduler(name, optimizer, 2, steps, kwargs), optimizer, steps)
    assert len(found) == steps
    assert found == pytest.approx(expected[:-1], rel=1e-12, abs=1e-15)
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(expected[-1], rel=1e-12, abs=1e-15)


def test_every_schedule_is_compared() -> None:
    assert {name for name, _ in CASES} == set(SCHEDULES)


def test_the_last_step_of_all_warmup_is_no_division_by_zero() -> None:
    factor = schedule("polynomial", 4, 4, learning_rate=1.0, kwargs={})
    assert factor(3) == 0.75
    assert factor(4) == 1.0


def test_given_total_replaces_the_plans() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    assert rates(create_scheduler(optimizer, optimization(), 2), optimizer, 2) == [1.0, 0.5, 0.0]


def test_a_schedule_can_be_saved_and_loaded() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = create_scheduler(optimizer, optimization())
    rates(scheduler, optimizer, 3)
    again = create_scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0), optimization())
    again.load_state_dict(scheduler.state_dict())
    assert again.get_last_lr() == scheduler.get_last_lr()


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("cosine", {"num_cycle": 1}, "cosine takes no 'num_cycle'; did you mean 'num_cycles'?"),
        ("constant", {"min_lr": 1}, "constant takes no 'min_lr'"),
        ("warmup_stable_decay", {}, "warmup_stable_decay needs 'num_decay_steps'"),
        ("warmup_stable_decay", {"num_decay_steps": 1, "decay_type": "sqrt"}, "decay_type='sqrt': expected one of"),
        ("cosine_with_min_lr", {}, "expected one of min_lr=None and min_lr_rate=None"),
        ("cosine_with_min_lr", {"min_lr": 1e-6, "min_lr_rate": 0.1}, "expected one of min_lr=1e-06"),
        ("polynomial", {"lr_end": 1.0}, "lr_end=1.0: expected less than learning_rate"),
    ],
)
def test_arguments_of_a_schedule_that_make_no_sense_are_refused(name: str, kwargs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        schedule(name, 1, 10, learning_rate=1e-3, kwargs=kwargs)
