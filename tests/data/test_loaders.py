"""Loaders batch by batch, and their windows."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from lt_trainer.data.collators import default_data_collator
from lt_trainer.data.loaders import BatchLoader, BatchWindows, DealtWindows, MicroBatches
from lt_trainer.data.order import WindowSampler

ROWS = [{"x": i} for i in range(10)]


def values(batches):
    return [batch["x"].tolist() for batch in batches]


def test_a_batch_loader_yields_the_micro_batches_of_its_windows_in_their_order():
    loader = BatchLoader(ROWS, default_data_collator, WindowSampler(10, 3, 2, seed=4))
    windows = [values(window.batches) for window in loader.windows]
    assert [len(window) for window in windows] == [2, 2]
    assert values(loader) == [batch for window in windows for batch in window]
    assert len(loader) == 4
    assert loader.dataset is ROWS


def test_a_batch_loader_makes_its_windows_once():
    loader = BatchLoader(ROWS, default_data_collator, WindowSampler(10, 3, 2, seed=4))
    assert loader.windows is loader.windows


def test_micro_batches_are_counted_as_they_come_on_every_rank():
    for num_rows in range(1, 12):
        for rank in (0, 1):
            batches = MicroBatches(WindowSampler(num_rows, 2, 2, seed=0, rank=rank, world_size=2))
            assert len(batches) == len(list(batches)), (num_rows, rank)


def shuffled(windows):
    return [value for window in windows for batch in window.batches for value in batch["x"].tolist()]


def test_windows_of_a_users_loader_hold_its_batches_and_a_short_last_window():
    windows = BatchWindows(DataLoader(ROWS, batch_size=2, collate_fn=default_data_collator), accumulation=2)
    assert [values(w.batches) for w in windows] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert [w.rows for w in windows] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert len(windows) == 3
    assert [windows.share_done(n) for n in (1, 2, 3)] == [0.4, 0.8, 1.0]


def test_a_users_shuffling_follows_seed_and_epoch_and_moves_no_global_state():
    def order(seed, epoch):
        windows = BatchWindows(
            DataLoader(ROWS, batch_size=2, shuffle=True, collate_fn=default_data_collator), seed=seed
        )
        windows.set_epoch(epoch)
        return shuffled(windows)

    state = torch.get_rng_state()
    first = order(3, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert order(3, 0) == first
    assert order(3, 1) != first
    assert order(4, 0) != first
    assert sorted(first) == [*range(10)]


def test_a_users_loader_goes_on_where_it_was():
    def windows():
        loader = DataLoader(ROWS, batch_size=1, shuffle=True, collate_fn=default_data_collator)
        return BatchWindows(loader, accumulation=3, seed=1)

    whole, rest = windows(), windows()
    rest.start = 2
    assert shuffled(rest) == shuffled(whole)[6:]


def test_a_users_sampler_is_told_the_epoch():
    class Told(torch.utils.data.SequentialSampler):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

    sampler = Told(ROWS)
    BatchWindows(DataLoader(ROWS, sampler=sampler, collate_fn=default_data_collator)).set_epoch(5)
    assert sampler.epoch == 5


@pytest.mark.parametrize("count", range(8))
def test_windows_of_a_loader_that_all_processes_read_are_dealt_out_once(count: int) -> None:
    def dealt(rank: int) -> DealtWindows:
        return DealtWindows(BatchWindows(DataLoader(torch.arange(count), 2, collate_fn=_columns)), rank, 3)

    each = [list(dealt(rank)) for rank in range(3)]
    assert [len(windows) for windows in each] == [len(dealt(0))] * 3
    assert sorted(row for windows in each for w in windows for rows in w.rows for row in rows) == list(range(count))
    for window in (w for windows in each for w in windows):
        for batch, rows in zip(window.batches, window.rows, strict=True):
            assert batch["x"].tolist() == rows


def test_a_loader_that_repeats_rows_is_refused() -> None:
    rows = torch.arange(3)
    loader = DataLoader(rows, sampler=DistributedSampler(rows, num_replicas=2, rank=0))
    with pytest.raises(ValueError, match="DistributedSampler, which repeats rows"):
        DealtWindows(BatchWindows(loader), 0, 2)


def _columns(rows):
    return {"x": torch.stack(rows)}
