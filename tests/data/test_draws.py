"""Seeds of draws, as loaders tell them."""

from __future__ import annotations

import pytest

from lt_trainer.data.draws import drawing, epoch_seed, window_seed
from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import window_loader


def seen(sampler: WindowSampler, num_workers: int = 0) -> list[tuple[int, int]]:
    """The seeds that a collator sees, window by window."""
    loader = window_loader(list(range(6)), lambda rows: {"seeds": (window_seed(), epoch_seed())}, sampler)
    return [window.batches[0]["seeds"] for window in loader]


def test_outside_of_a_loader_there_is_no_seed():
    assert (window_seed(), epoch_seed()) == (None, None)
    with drawing(1, 2):
        assert (window_seed(), epoch_seed()) == (1, 2)
    assert (window_seed(), epoch_seed()) == (None, None)


def test_windows_differ_and_share_the_seed_of_their_epoch():
    first = seen(WindowSampler(6, 2, seed=1))
    assert len({window for window, _ in first}) == 3
    assert len({epoch for _, epoch in first}) == 1


def test_the_seed_of_an_epoch_does_not_know_ranks_or_batch_sizes():
    whole = seen(WindowSampler(6, 2, seed=1))[0][1]
    part = seen(WindowSampler(6, 1, 2, seed=1, rank=1, world_size=2))[0][1]
    assert whole == part


@pytest.mark.parametrize(("seed", "changes"), [(1, True), (None, False)])
def test_training_draws_anew_in_each_epoch_and_evaluation_the_same(seed, changes):
    sampler = WindowSampler(6, 2, seed=seed)
    first = seen(sampler)
    sampler.set_epoch(1)
    assert (seen(sampler) != first) is changes
