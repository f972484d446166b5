from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lt_trainer.checkpoint.rng import rng_state, set_rng_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRAWS: list[Callable[[], float]] = [random.random, lambda: np.random.rand(), lambda: torch.rand(()).item()]
GENERATORS = ["python", "numpy", "torch"]


@pytest.mark.parametrize("draw", DRAWS, ids=GENERATORS)
def test_a_generator_goes_on_where_it_was(draw: Callable[[], float]) -> None:
    state = rng_state()
    expected = [draw() for _ in range(3)]
    set_rng_state(state)
    assert [draw() for _ in range(3)] == expected


def test_the_half_drawn_pair_of_numpys_normal_numbers_comes_back() -> None:
    np.random.normal()  # draws two and keeps one
    state = rng_state()
    kept = np.random.normal()
    set_rng_state(state)
    assert np.random.normal() == kept


def test_taking_the_state_draws_nothing() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    rng_state()
    assert random.random() == expected


def test_a_state_is_no_view_of_the_generators() -> None:
    state = rng_state()
    before = state["cpu"].clone(), state["numpy"][1][:]
    torch.rand(700)
    np.random.rand(700)
    assert torch.equal(state["cpu"], before[0])
    assert state["numpy"][1] == before[1]


def test_a_state_goes_through_a_strict_load(tmp_path: Path) -> None:
    state = rng_state()
    torch.save(state, tmp_path / "rng_state.pth")
    expected = [draw() for draw in DRAWS]
    set_rng_state(torch.load(tmp_path / "rng_state.pth", weights_only=True))
    assert [draw() for draw in DRAWS] == expected


def test_generators_of_devices_that_are_not_here_are_left_out() -> None:
    state = rng_state()
    if not torch.cuda.is_available():
        state["cuda"] = [torch.zeros(16, dtype=torch.uint8)]
    if not torch.backends.mps.is_available():
        state["mps"] = torch.zeros(16, dtype=torch.uint8)
    expected = random.random()
    set_rng_state(state)
    assert random.random() == expected


@pytest.mark.parametrize("missing", ["python", "numpy", "cpu"])
def test_a_state_that_lacks_a_generator_is_refused(missing: str) -> None:
    state = rng_state()
    del state[missing]
    with pytest.raises(ValueError, match="no state of random generators"):
        set_rng_state(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("world_size", [1, 2])
def test_the_gpus_generator_goes_on_where_it_was(world_size: int) -> None:
    torch.rand((), device="cuda")
    state = rng_state(world_size)
    assert isinstance(state["cuda"], list) == (world_size > 1)
    expected = torch.rand(3, device="cuda").tolist()
    set_rng_state(state)
    assert torch.rand(3, device="cuda").tolist() == expected
