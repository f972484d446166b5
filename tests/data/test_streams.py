from __future__ import annotations

import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from lt_trainer.data.loaders import BatchWindows
from lt_trainer.data.streams import StreamBatches, StreamLoader


class Numbers(IterableDataset):
    """Rows 0 .. count - 1; workers take turns."""

    def __init__(self, count):
        self.count, self.epochs = count, []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter(range(start, self.count, step))


def collate(rows):
    return {"x": torch.tensor(rows)}


def batches(*args, **options):
    return [batch["x"].tolist() for batch in StreamBatches(Numbers(10), collate, *args, **options)]


def test_a_pass_gives_every_row_once_in_its_order():
    assert batches(4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches(4, drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_processes_share_each_micro_batch_also_a_short_one():
    assert batches(2, rank=0, world_size=2) == [[0, 1], [4, 5], [8]]
    assert batches(2, rank=1, world_size=2) == [[2, 3], [6, 7], [9]]


def test_windows_take_several_batches_and_the_last_what_is_left():
    loader = StreamLoader(StreamBatches(Numbers(10), collate, 2), num_workers=0)
    windows = BatchWindows(loader, 2, steps=6)
    found = [[batch["x"].tolist() for batch in window.batches] for window in windows]
    assert found == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert [window.rows for window in windows][1] == [[4, 5], [6, 7]]
    assert windows.share_done(3) == 0.5
    with pytest.raises(TypeError):
        len(windows)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_pass_begins_at_its_window_and_numbers_its_rows(workers):
    whole, rest = (
        BatchWindows(StreamLoader(StreamBatches(Numbers(12), collate, 2), num_workers=workers), 2) for _ in range(2)
    )
    rest.start = 2
    expected = [[batch["x"].tolist() for batch in window.batches] for window in whole][2:]
    windows = list(rest)
    assert [[batch["x"].tolist() for batch in window.batches] for window in windows] == expected
    assert windows[0].rows[0] == [8, 9]


def test_what_was_done_is_read_past_without_collating():
    seen = []
    loader = StreamLoader(StreamBatches(Numbers(12), lambda rows: seen.append(rows) or collate(rows), 2))
    windows = BatchWindows(loader, 1)
    windows.start = 4
    list(windows)
    assert seen == [[8, 9], [10, 11]]


def test_the_stream_is_told_which_pass_it_is():
    rows = Numbers(4)
    windows = BatchWindows(StreamLoader(StreamBatches(rows, collate, 2)))
    windows.set_epoch(3)
    assert rows.epochs == [3]


def test_what_a_collator_draws_is_a_function_of_seed_epoch_and_place():
    def draw(rows):
        return {"x": torch.rand(1)}

    def drawn(seed, epoch, start):
        stream = StreamBatches(Numbers(8), draw, 2, seed=seed)
        stream.set_epoch(epoch)
        stream.start = start
        return [batch["x"].item() for batch in stream]

    torch.manual_seed(1)
    first = drawn(5, 0, 0)
    torch.manual_seed(2)
    assert drawn(5, 0, 2) == first[2:]
    assert drawn(5, 1, 0) != first
    assert drawn(None, 1, 0) == drawn(None, 0, 0)


def test_an_empty_stream_has_run_dry():
    windows = BatchWindows(StreamLoader(StreamBatches(Numbers(0), collate, 2)))
    assert list(windows) == []
    assert windows.ran_dry
