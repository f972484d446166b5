from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lt_trainer.data.collators import default_data_collator
from lt_trainer.data.order import epoch_order
from lt_trainer.datamodule import TaskData


class Numbers(TaskData):
    """Rows that are their own numbers."""

    def __init__(self, *, train: int = 7, validation: int = 5, test: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.train_dataset = self._rows(train)
        self.eval_dataset = self._rows(validation)
        self.test_dataset = None if test is None else self._rows(test)

    @staticmethod
    def _rows(count: int) -> list[dict[str, int]]:
        return [{"x": number} for number in range(count)]

    @property
    def collate(self) -> Any:
        return default_data_collator


def seen(loader: Any) -> list[list[list[int]]]:
    """The rows by window and micro-batch."""
    return [[batch["x"].tolist() for batch in window.batches] for window in loader]


def test_training_rows_come_in_windows_in_the_order_of_the_seed() -> None:
    order = epoch_order(7, seed=3, epoch=0)
    loader = Numbers(batch_size=2, accumulation=2, seed=3).train_dataloader()
    assert seen(loader) == [[order[:2], order[2:4]], [order[4:6], order[6:]]]


def test_a_loader_is_as_long_as_there_are_steps() -> None:
    assert len(Numbers(batch_size=2, accumulation=2).train_dataloader()) == 2


def test_the_next_epoch_has_another_order() -> None:
    loader = Numbers(batch_size=7, seed=3).train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert seen(loader) == [[epoch_order(7, seed=3, epoch=1)]]


def test_validation_rows_come_in_their_order_one_batch_a_window() -> None:
    loader = Numbers(batch_size=8, eval_batch_size=2, accumulation=4).val_dataloader()
    assert seen(loader) == [[[0, 1]], [[2, 3]], [[4]]]


def test_evaluation_takes_batches_of_training_where_nothing_else_is_said() -> None:
    assert seen(Numbers(batch_size=3).val_dataloader()) == [[[0, 1, 2]], [[3, 4]]]


def test_test_rows_are_those_of_the_test() -> None:
    assert seen(Numbers(test=2).test_dataloader()) == [[[0, 1]]]


@pytest.mark.parametrize(("test", "expected"), [(2, [[[0, 1]]]), (None, [[[0, 1, 2, 3, 4]]])])
def test_predictions_are_for_test_rows_or_else_those_of_validation(test: int | None, expected: Any) -> None:
    assert seen(Numbers(test=test).predict_dataloader()) == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_the_rows(rank: int) -> None:
    data = Numbers(batch_size=2)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
    assert seen(data.val_dataloader()) == [[[[0, 1], [2, 3]][rank]], *([[[4]]] if rank == 0 else [[]])]


def test_reading_rows_draws_nothing() -> None:
    before = torch.get_rng_state()
    seen(Numbers().train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("loader", "split"), [("train", "train"), ("val", "validation"), ("test", "test"), ("predict", "test")]
)
def test_a_split_that_is_not_there_is_named(loader: str, split: str) -> None:
    data = Numbers()
    data.train_dataset = data.eval_dataset = data.test_dataset = None
    with pytest.raises(ValueError, match=f"Numbers has no {split} rows: give it {split}="):
        getattr(data, f"{loader}_dataloader")()


def test_data_without_a_collator_says_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match="TaskData has no pads"):
        TaskData().collate  # noqa: B018
