"""The base of the tasks' data modules: raw rows in, windows of tokenized rows out, on any number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import Collate, Window, window_loader

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


class TaskData(pl.LightningDataModule):
    """Splits of one task; a subclass tokenizes them in `setup` and brings the collator.

    A tokenizer that it sets as `tokenizer` is saved beside the model.

    Args:
        batch_size: rows of a micro-batch on one device.
        eval_batch_size: rows of a batch in evaluation; None: as `batch_size`.
        accumulation: micro-batches of an optimizer step: a Lightning batch is one step, so `accumulate_grad_batches`
            of Lightning's Trainer stays 1.
        num_workers: processes that load data.
        seed: of the order of training rows.
    """

    def __init__(
        self,
        *,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        accumulation: int = 1,
        num_workers: int = 0,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.accumulation, self.num_workers, self.seed = accumulation, num_workers, seed
        self.tokenizer: Any = None
        self.train_dataset: Any = None
        self.eval_dataset: Any = None
        self.test_dataset: Any = None

    @property
    def collate(self) -> Collate:
        """Rows -> batch of tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no collate: return a collator from the property")

    def train_dataloader(self) -> DataLoader[Window]:
        """Windows of shuffled rows."""
        return self._loader(self.train_dataset, "train", self.batch_size, self.accumulation, self.seed)

    def val_dataloader(self) -> DataLoader[Window]:
        """Batches in the order of the rows."""
        return self._loader(self.eval_dataset, "validation", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Window]:
        """As for validation."""
        return self._loader(self.test_dataset, "test", self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Window]:
        """The test rows, or where there are none those of validation."""
        rows = self.test_dataset if self.test_dataset is not None else self.eval_dataset
        return self._loader(rows, "test", self.eval_batch_size)

    def _loader(
        self, rows: Any, split: str, batch_size: int, accumulation: int = 1, seed: int | None = None
    ) -> DataLoader[Window]:
        if rows is None:
            raise ValueError(f"{type(self).__name__} has no {split} rows: give it {split}=... (a file or a data set)")
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        sampler = WindowSampler(len(rows), batch_size, accumulation, seed=seed, rank=rank, world_size=world_size)
        return window_loader(rows, self.collate, sampler, num_workers=self.num_workers)
