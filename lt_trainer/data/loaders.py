"""Loaders as users know them, batch by batch, and the windows that Lightning runs over: one an optimizer step."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

from lt_trainer.data.order import mix
from lt_trainer.data.streams import StreamLoader
from lt_trainer.data.windows import Batch, Collate, Window, seeded, window_loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lt_trainer.data.order import WindowSampler


class MicroBatches(BatchSampler):
    """The micro-batches of a window sampler one by one: this rank's row numbers of each.

    Args:
        windows: in which order they come, and how many rows each takes.
    """

    def __init__(self, windows: WindowSampler) -> None:
        super().__init__(windows, windows.batch_size, windows.drop_last)  # type: ignore[arg-type]
        self.windows = windows

    def __iter__(self) -> Iterator[list[int]]:
        for window in self.windows:
            yield from (share for share in window.shares if share)

    def __len__(self) -> int:
        rows, full = self.windows.rows_used, self.windows.batch_size * self.windows.world_size
        return rows // full + (rows % full > self.windows.rank)


class BatchLoader(DataLoader[Any]):
    """A loader of collated micro-batches, padded as the collator pads, whose `windows` Lightning runs over.

    Args:
        dataset: any map-style data set.
        collate: list of rows -> batch of tensors.
        sampler: which row comes when.
        options: `num_workers` and its like, as `window_loader` takes them.
    """

    def __init__(self, dataset: Any, collate: Collate, sampler: WindowSampler, **options: Any) -> None:
        prefetch = options.get("prefetch_factor") if options.get("num_workers") else None
        super().__init__(
            dataset,
            batch_sampler=MicroBatches(sampler),
            collate_fn=collate,
            generator=torch.Generator().manual_seed(sampler.order_seed or 0),
            **{**options, "prefetch_factor": prefetch},
        )
        self.window_sampler, self._options = sampler, options

    @cached_property
    def windows(self) -> DataLoader[Window]:
        """The same rows, a window at a time; made once, so that workers can persist."""
        return window_loader(self.dataset, self.collate_fn, self.window_sampler, **self._options)

    def close(self) -> None:
        """Lets go of the windows and of the workers that make them; callbacks may still read the loader."""
        vars(self).pop("windows", None)


class BatchWindows:
    """Windows of a loader that somebody else made: its batches, in its order, `accumulation` to a window.

    It is a loader and its own sampler: Lightning calls `set_epoch` on what it finds as `sampler`. What the loader draws
    from the global random state to shuffle is a function of seed and epoch, so a resumed run sees the same order,
    unless the loader brought a generator of its own.

    Args:
        batches: yields batches as dicts of tensors; every process takes all of its own.
        accumulation: micro-batches of a window.
        seed: of its shuffling.
        steps: of the run; an epoch of a loader without a length is counted as so many windows, as in `transformers`.
    """

    world_size = 1  # processes that a batch is dealt out to: the loader has done that itself
    batch_sampler = None  # where Lightning looks for shuffling

    def __init__(
        self, batches: Iterable[Batch], accumulation: int = 1, *, seed: int = 0, steps: int | None = None
    ) -> None:
        self.batches, self.accumulation, self.seed, self.steps = batches, accumulation, seed, steps
        self.epoch = 0
        self.start = 0  # windows of this epoch that were done before a resume
        self.ran_dry = False  # a pass gave nothing: the stream is used up

    @property
    def sampler(self) -> BatchWindows:
        """Where Lightning looks for `set_epoch`."""
        return self

    @property
    def num_batches(self) -> int:
        """Batches of an epoch.

        Raises:
            TypeError: the loader has no length.
        """
        return len(self.batches)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return -(-self.num_batches // self.accumulation)

    def share_done(self, steps: int) -> float:
        """The share of an epoch that `steps` of its windows are, counted in batches."""
        if length_of(self.batches) is None:
            return steps / (self.steps or 1)
        return min(steps * self.accumulation, self.num_batches) / self.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; tells the loader, or its sampler, where they take it."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0
        for part in (self.batches, *(getattr(self.batches, name, None) for name in ("sampler", "batch_sampler"))):
            if callable(tell := getattr(part, "set_epoch", None)):
                tell(epoch)

    def __iter__(self) -> Iterator[Window]:
        """Batches that were done before a resume are read and left out."""
        done = self.start * self.accumulation
        drop = self.batches.skip(done) if isinstance(self.batches, StreamLoader) else done
        with seeded(mix(self.seed, self.epoch)):
            batches = iter(self.batches)
            waiting = list(islice(batches, drop + 1))[drop:]
        self.ran_dry = not waiting and not done
        first = self._rows_before(done)
        while waiting:
            waiting += islice(batches, self.accumulation - len(waiting))
            rows = []
            for batch in waiting:
                rows.append([*range(first, first := first + num_rows(batch))])
            yield Window([dict(batch) for batch in waiting], rows)
            waiting = list(islice(batches, 1))

    def _rows_before(self, batches: int) -> int:
        """Rows that came before a batch, where the size of all batches is known."""
        return batches * self.batches.batches.batch_size if isinstance(self.batches, StreamLoader) else 0


class DealtWindows:
    """An evaluation's windows of a loader that every process reads whole: each takes its turn.

    Args:
        windows: all of them.
        rank: this process.
        world_size: all processes.

    Raises:
        ValueError: the loader deals rows out by itself, and repeats some so that all processes get as many.
    """

    def __init__(self, windows: BatchWindows, rank: int, world_size: int) -> None:
        if isinstance(getattr(windows.batches, "sampler", None), DistributedSampler):
            raise ValueError(
                "evaluation on several processes: expected a loader of all rows, received one with a "
                "DistributedSampler, which repeats rows: leave the sampler out, batches are dealt out to the processes"
            )
        self.windows, self.rank, self.world_size = windows, rank, world_size

    def __len__(self) -> int:
        return -(-len(self.windows) // self.world_size)

    def __iter__(self) -> Iterator[Window]:
        windows = iter(self.windows)
        while few := list(islice(windows, self.world_size)):
            yield few[self.rank] if self.rank < len(few) else Window([], [])


def length_of(batches: Any) -> int | None:
    """Batches of a loader; None where it has no length."""
    try:
        return len(batches)
    except TypeError:
        return None


def num_rows(batch: Batch) -> int:
    """Rows of a collated batch, by the first of its values that has a length."""
    return next(len(value) for value in batch.values() if isinstance(value, torch.Tensor | list | tuple))
