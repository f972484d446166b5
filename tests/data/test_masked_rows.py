"""Masks go by seed, epoch and row, and by nothing else."""

from __future__ import annotations

import pytest

from lt_trainer.data.draws import drawing
from lt_trainer.data.masked_rows import MaskedRows
from lt_trainer.data.masking import Masking
from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import window_loader

ROWS = [{"input_ids": [2, *range(10, 22), 3], "special_tokens_mask": [1, *[0] * 12, 1]} for _ in range(12)]
MASKING = Masking(0.4, 0.8, 0.1, mask_id=4, vocab_size=50)


def masks(batch_size=4, accumulation=1, epoch=0, fixed=False, seed=1, workers=0, start=0):
    """Row number -> what it reads and guesses, as a loader serves it."""
    rows = MaskedRows(ROWS, MASKING, seed=7, fixed=fixed)
    sampler = WindowSampler(len(rows), batch_size, accumulation, seed=seed)
    sampler.set_epoch(epoch)
    sampler.start = start
    found = {}
    for window in window_loader(rows, lambda batch: {"rows": batch}, sampler, num_workers=workers):
        for batch, numbers in zip(window.batches, window.rows, strict=True):
            found |= {n: (row["input_ids"], row["labels"]) for n, row in zip(numbers, batch["rows"], strict=True)}
    return found


def test_batches_and_accumulation_change_no_mask():
    assert masks(4) == masks(1) == masks(3, 2)


def test_an_epoch_draws_anew_and_a_resumed_one_as_before():
    assert masks(epoch=1) != masks(epoch=0)
    rest = masks(epoch=1, start=2)
    assert len(rest) == 4
    assert rest.items() <= masks(epoch=1).items()


def test_workers_change_no_mask():
    assert masks(workers=2) == masks()


def test_rows_have_masks_of_their_own_and_special_tokens_none():
    found = masks()
    assert len({tuple(labels) for _, labels in found.values()}) > 6
    assert all(labels[0] == labels[-1] == -100 for _, labels in found.values())


@pytest.mark.parametrize("epoch", [0, 3])
def test_masks_of_evaluation_stay_the_same(epoch):
    assert masks(fixed=True, seed=None, epoch=epoch) == masks(fixed=True, seed=None)
    rows = MaskedRows(ROWS, MASKING, seed=7, fixed=True)
    with drawing(1, 5):
        inside = rows[3]
    assert inside == rows[3]


def test_another_seed_is_another_mask():
    first, second = (MaskedRows(ROWS, MASKING, seed=seed, fixed=True)[0] for seed in (1, 2))
    assert first != second
