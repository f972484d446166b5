"""The order of rows and how a step's rows are dealt."""

from __future__ import annotations

from itertools import chain, product

import pytest
import torch

from lt_trainer.data.order import WindowSampler, deal, epoch_order, length_grouped, longest_first


def shares_of(sampler):
    return [window.shares for window in sampler]


def test_order_is_a_permutation_that_seed_and_epoch_decide():
    assert sorted(epoch_order(50, seed=3, epoch=0)) == list(range(50))
    assert epoch_order(50, seed=3, epoch=1) == epoch_order(50, seed=4, epoch=0) != epoch_order(50, seed=3, epoch=0)


def test_order_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch_order(10, seed=1, epoch=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_order_equals_that_of_accelerate():
    data_loader = pytest.importorskip("accelerate.data_loader")
    sampler = data_loader.SeedableRandomSampler(list(range(37)), data_seed=42)
    assert list(sampler) == epoch_order(37, seed=42, epoch=0)
    sampler.set_epoch(1)
    assert list(sampler) == epoch_order(37, seed=42, epoch=1)


@pytest.mark.parametrize(
    ("rows", "batch_size", "world_size", "shares"),
    [
        (8, 2, 1, [[[0, 1], [2, 3], [4, 5], [6, 7]]]),
        (8, 2, 2, [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]),
        (7, 2, 2, [[[0, 1], [4, 5]], [[2, 3], [6]]]),
        (5, 2, 2, [[[0, 1], [4]], [[2, 3], []]]),
        (1, 4, 3, [[[0]], [[]], [[]]]),
    ],
)
def test_rows_of_a_step_are_dealt_by_hand_computed_tables(rows, batch_size, world_size, shares):
    assert [deal(range(rows), batch_size, rank, world_size) for rank in range(world_size)] == shares


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_row_is_dealt_once_an_epoch_whatever_divides(world_size):
    for rows, batch_size, accumulation in product(range(1, 30), (1, 2, 5), (1, 3)):
        samplers = [
            WindowSampler(rows, batch_size, accumulation, seed=0, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        windows = [shares_of(sampler) for sampler in samplers]
        assert {len(w) for w in windows} == {len(samplers[0])}
        assert sorted(row for w in windows for window in w for batch in window for row in batch) == list(range(rows))
        for step in zip(*windows, strict=True):  # ranks meet in each micro-batch
            assert len({len(window) for window in step}) == 1


def test_all_ranks_together_see_the_windows_of_one_process():
    one = [sorted(chain(*window)) for window in shares_of(WindowSampler(100, 8, 2, seed=1))]
    two = [shares_of(WindowSampler(100, 4, 2, seed=1, rank=rank, world_size=2)) for rank in range(2)]
    assert [sorted(chain(*a, *b)) for a, b in zip(*two, strict=True)] == one


def test_dropping_the_last_batch_keeps_full_micro_batches_alone():
    sampler = WindowSampler(11, 2, 2, seed=0, drop_last=True)
    windows = shares_of(sampler)
    assert [[len(batch) for batch in window] for window in windows] == [[2, 2], [2, 2], [2]]
    assert len(sampler) == 3


def test_a_later_start_skips_steps_of_one_epoch_only():
    sampler = WindowSampler(12, 2, 2, seed=5)
    whole = list(sampler)
    sampler.start = 1
    assert len(sampler) == 3
    for _ in range(2):  # Lightning asks twice where a run goes on in a later epoch
        assert list(sampler) == whole[1:]
        sampler.set_epoch(0)
    sampler.set_epoch(1)
    sampler.set_epoch(0)
    assert list(sampler) == whole


def test_nothing_is_read_before_the_first_window_is_asked_for():
    sampler = WindowSampler(12, 2, seed=5)
    iterator = iter(sampler)
    sampler.set_epoch(3)  # Lightning calls it after iter()
    assert next(iterator).shares[0] == epoch_order(12, seed=5, epoch=3)[:2]


def test_share_of_an_epoch_counts_micro_batches():
    sampler = WindowSampler(13, 2, 4, seed=0)  # 7 micro-batches: windows of 4 and 3
    assert [sampler.share_done(step) for step in (1, 2)] == [4 / 7, 1.0]


def test_every_window_has_a_seed_of_its_own_that_a_later_start_keeps():
    sampler = WindowSampler(12, 2, seed=5)
    seeds = [window.seed for window in sampler]
    assert len(set(seeds)) == 6
    sampler.start = 4
    assert [window.seed for window in sampler] == seeds[4:]
    sampler.set_epoch(1)
    assert not {window.seed for window in sampler} & set(seeds)
    assert [w.seed for w in WindowSampler(12, 2, seed=5, rank=1, world_size=2)] != seeds[:3]


@pytest.mark.parametrize("count", [3, 40, 101])
def test_rows_of_like_length_come_together_as_in_transformers(count: int) -> None:
    sampler = pytest.importorskip("transformers.trainer_pt_utils").LengthGroupedSampler
    lengths = torch.randint(1, 50, (count,), generator=torch.Generator().manual_seed(1)).tolist()
    order = length_grouped(lengths, 4)
    torch.manual_seed(5)
    theirs = torch.utils.data.DataLoader(lengths, sampler=sampler(4, lengths=lengths), collate_fn=list)
    for epoch in range(2):
        seen = [batch[0] for batch in theirs]  # which draws a seed of its own, then the order
        assert [lengths[row] for row in order(5, epoch)] == seen
        assert sorted(order(5, epoch)) == list(range(count))


def test_a_sequential_order_is_that_of_the_rows() -> None:
    sampler = WindowSampler(5, 2, seed=1, order="sequential")
    assert [window.shares for window in sampler] == [[[0, 1]], [[2, 3]], [[4]]]


def test_rows_may_be_given_the_longest_first():
    order = longest_first([2, 9, 9, 1])
    assert order == [1, 2, 0, 3]
    assert [window.shares for window in WindowSampler(4, 2, order=order)] == [[[1, 2]], [[0, 3]]]
