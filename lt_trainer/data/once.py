"""Evaluation over data sets that only iterate: every row once, in order, on any number of processes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from lt_trainer.data.order import deal, mix
from lt_trainer.data.windows import Batch, Collate, Window, seeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class OnceWindows(IterableDataset[Window]):
    """Reads all rows on every process and collates this process's share of each batch.

    Args:
        rows: iterates over rows, anew each time.
        collate: list of rows -> batch of tensors.
        batch_size: rows of a batch on one device.
        rank: this process.
        world_size: all processes.
    """

    def __init__(self, rows: Iterable[Any], collate: Collate, batch_size: int, *, rank: int, world_size: int) -> None:
        self.rows, self.collate, self.batch_size = rows, collate, batch_size
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Window]:
        rows, first, step = iter(self.rows), 0, 0
        while few := list(islice(rows, self.batch_size * self.world_size)):
            [share] = deal(range(len(few)), self.batch_size, self.rank, self.world_size)
            if share:
                with seeded(mix(0, 0, step, self.rank)):
                    yield Window([self.collate([few[i] for i in share])], [[first + i for i in share]])
            else:
                yield Window([], [])
            first, step = first + len(few), step + 1


class OnceLoader(DataLoader[Any]):
    """A loader of the batches of a stream, whose `windows` Lightning runs over.

    Args:
        dataset: the stream.
        windows: over it.
        num_workers: with any, one reads ahead: several would each read all of it.
        pin_memory: page-locked memory.
    """

    def __init__(self, dataset: Any, windows: OnceWindows, *, num_workers: int = 0, pin_memory: bool = False) -> None:
        super().__init__(dataset, batch_size=None)
        self.windows: DataLoader[Window] = DataLoader(
            windows,
            batch_size=None,
            num_workers=min(num_workers, 1),
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for window in self.windows:
            yield from window.batches
