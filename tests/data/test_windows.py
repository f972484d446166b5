"""Windows: what Lightning gets as one batch."""

from __future__ import annotations

import random

import numpy as np
import torch

from lt_trainer.data.collators import default_data_collator
from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import Passes, Window, window_loader

ROWS = [{"x": i} for i in range(10)]


def loader(**options):
    keys = ("num_workers",)
    sampler = WindowSampler(10, 2, 2, **{k: v for k, v in options.items() if k not in keys})
    return window_loader(ROWS, default_data_collator, sampler, **{k: v for k, v in options.items() if k in keys})


def test_a_window_holds_its_micro_batches_and_their_rows():
    windows = list(loader())
    assert [[b["x"].tolist() for b in w.batches] for w in windows] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert windows[0].rows == [[0, 1], [2, 3]]


def test_training_keeps_a_blank_micro_batch_for_a_rank_without_rows():
    sampler = WindowSampler(1, 2, seed=0, rank=1, world_size=2)
    blank = next(iter(window_loader(ROWS[:1], default_data_collator, sampler)))
    assert [b["x"].tolist() for b in blank.batches] == [[0]]
    assert blank.is_blank(0)


def test_evaluation_leaves_a_blank_micro_batch_out():
    windows = list(window_loader(ROWS[:1], default_data_collator, WindowSampler(1, 2, rank=1, world_size=2)))
    assert [w.batches for w in windows] == [[]]


def test_reading_data_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader(seed=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_give_the_same_windows():
    plain, worked = list(loader(seed=3)), list(loader(seed=3, num_workers=2))
    assert [w.rows for w in plain] == [w.rows for w in worked]


def test_lightning_reaches_the_epoch_through_the_sampler():
    data = loader(seed=3)
    first = [w.rows for w in data]
    data.sampler.set_epoch(1)
    assert [w.rows for w in data] != first


def test_an_ordinary_batch_is_a_window_of_one():
    window = Window.of({"x": torch.tensor([4, 5])})
    assert window.rows == [[0, 1]]
    assert Window.of(window) is window


def test_batched_reads_are_used_where_the_data_set_has_them():
    class Batched(list):
        def __getitems__(self, rows):
            calls.append(rows)
            return [self[row] for row in rows]

    calls: list[list[int]] = []
    list(window_loader(Batched(ROWS), default_data_collator, WindowSampler(10, 5)))
    assert calls == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def random_collate(rows):
    return {"x": torch.tensor([random.random(), np.random.rand(), float(torch.rand(()))], dtype=torch.float64)}


def test_random_collators_draw_the_same_in_workers_and_without():
    windows = [
        [
            b["x"]
            for w in window_loader(ROWS, random_collate, WindowSampler(10, 2, seed=1), num_workers=n)
            for b in w.batches
        ]
        for n in (0, 2)
    ]
    assert torch.equal(torch.stack(windows[0]), torch.stack(windows[1]))
    assert len({tuple(x.tolist()) for x in windows[0]}) == 5


def test_random_collators_leave_the_generators_where_they_were():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    list(window_loader(ROWS, random_collate, WindowSampler(10, 2, seed=1)))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_passes_hold_several_windows_in_their_order():
    windows = window_loader(ROWS, default_data_collator, WindowSampler(len(ROWS), 2))
    passes = Passes(windows, 3)
    together = list(passes)
    assert len(passes) == len(together) == -(-len(windows) // 3)
    assert [rows for window in together for rows in window.rows] == [w.rows[0] for w in windows]
    assert [len(window.batches) for window in together][:-1] == [3] * (len(together) - 1)
