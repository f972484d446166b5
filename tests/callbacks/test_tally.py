from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lt_trainer.callbacks.tally import Tally

DRIVER = SimpleNamespace(sum=lambda tensor: tensor, gather=lambda value: [value])


def after(*, norm: float | None = 1.0, plain: float | None = None, skipped: bool = False) -> Any:
    """A module after a step that clips at 2."""
    outcome = SimpleNamespace(
        grad_norm=None if norm is None else torch.tensor(norm),
        learning_rate=0.5,
        plain_loss=None if plain is None else torch.tensor(plain),
        skipped=skipped,
    )
    return SimpleNamespace(outcome=outcome, driver=DRIVER, max_grad_norm=2.0)


def add(tally: Tally, *losses: float, begin: int = 0, **step: Any) -> None:
    for number, loss in enumerate(losses, begin + 1):
        tally.add(after(**step), torch.tensor(loss), number)


def test_a_log_is_the_mean_of_the_steps_since_the_last() -> None:
    tally = Tally()
    add(tally, 1.0, 3.0)
    assert tally.read(after(), 2)[0] == {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.5}
    add(tally, 5.0, begin=2)
    assert tally.read(after(), 3)[0]["loss"] == 5.0
    assert tally.total_loss == 9.0


def test_what_the_peer_does_not_log_stands_beside() -> None:
    tally = Tally()
    add(tally, 1.0, norm=3.0, plain=0.5)
    add(tally, 1.0, begin=1, plain=1.5)
    assert tally.read(after(), 2)[1] == {"skipped_steps": 0, "clipped_share": 0.5, "unsmoothed_loss": 1.0}
    add(tally, 1.0, begin=2)
    assert tally.read(after(), 3)[1] == {"skipped_steps": 0, "clipped_share": 0.0}


def test_a_skipped_step_is_logged_and_enters_no_mean() -> None:
    tally = Tally()
    add(tally, 2.0)
    add(tally, math.nan, begin=1, skipped=True)
    logs, beside = tally.read(after(), 2)
    assert math.isnan(logs["loss"])
    assert (tally.total_loss, beside["skipped_steps"]) == (2.0, 1)


def test_a_filtered_loss_counts_as_the_mean_so_far() -> None:
    tally = Tally(filters_nan=True)
    add(tally, 2.0, 4.0, math.inf)
    # as in the peer, the sum before is divided by the steps with this one: 2 + 4 + 6 / 3
    assert tally.read(after(), 3)[0]["loss"] == pytest.approx(8.0 / 3)
    unfiltered = Tally()
    add(unfiltered, 2.0, math.inf)
    assert math.isinf(unfiltered.read(after(), 2)[0]["loss"])


@pytest.mark.parametrize(("world_size", "rank", "expected"), [(2, 0, 1.0), (2, 1, 2.0), (1, 0, 3.0), (3, 0, 3.0)])
def test_losses_go_on_on_any_number_of_processes(world_size: int, rank: int, expected: float) -> None:
    saved = {"total_loss": 4.0, "last_logged": 6, "losses": [1.0, 2.0]}
    tally = Tally()
    tally.restore(saved, rank=rank, world_size=world_size)
    assert (tally.flush(DRIVER), tally.last_logged) == (expected, 6)  # type: ignore[arg-type]


def test_what_is_saved_is_taken_up() -> None:
    before, tally = Tally(), Tally()
    add(before, 1.0, norm=3.0, plain=0.5)
    tally.restore(before.progress(DRIVER), rank=0, world_size=1)  # type: ignore[arg-type]
    assert tally.read(after(), 1) == before.read(after(), 1)
