"""A window is what one optimizer step trains on: its micro-batches. It is also Lightning's batch."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lt_trainer.data.collators import draws_nothing
from lt_trainer.data.draws import drawing
from lt_trainer.packed import PackedBatch, alike, join_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lt_trainer.data.order import WindowRows, WindowSampler

Batch = dict[str, Any]
Row = dict[str, Any]
Collate = Callable[[list[Any]], Batch]
KEPT = "kept_aside"


class KeepAside:
    """Takes columns out of rows that are for the task and not for the model: words, offsets, answers.

    They leave the batch as soon as it becomes part of a `Window` and come back beside the batch's predictions.

    Args:
        collate: the collator behind it.
        names: the columns; a row that has none of them is collated as it is.
    """

    def __init__(self, collate: Collate, names: Collection[str]) -> None:
        self.collate, self.names = collate, frozenset(names)

    def __call__(self, rows: list[Any]) -> Batch:
        """Rows -> batch, with the columns of each row under `KEPT`."""
        if self.names.isdisjoint(rows[0]):
            return self.collate(rows)
        batch = self.collate([{k: v for k, v in row.items() if k not in self.names} for row in rows])
        return {**batch, KEPT: [{k: v for k, v in row.items() if k in self.names} for row in rows]}


class Window:
    """The micro-batches of one optimizer step on this rank (one micro-batch in evaluation).

    Attributes:
        batches: collated micro-batches.
        rows: for each micro-batch, the row numbers in the data set; empty for a blank one.
        counts: for each micro-batch, the targets that enter the loss (or their weight, where classes have weights); the
            module counts them before the transfer.
        num_tokens: input tokens of all micro-batches, where somebody asks for them.
        num_flos: operations of their forward and backward passes, likewise.
        labels: for each micro-batch, its label columns as the collator made them, on the CPU.
        inputs: each micro-batch as the collator made it, on the CPU, where an evaluation asks for it.
        passes: for each of `batches`, the micro-batches that it holds: itself, or in evaluation several that were
            joined; the other lists stay as they were.
        whole: the window as it was collated, where a step may have to cut it up.
        kept: for each micro-batch, what its rows hold that the model does not take (see `KeepAside`), or None.
    """

    def __init__(self, batches: list[Batch], rows: list[list[int]]) -> None:
        self.batches = batches
        self.rows = rows
        self.kept: list[list[Row] | None] = [batch.pop(KEPT, None) for batch in batches]
        self.counts: list[float] = []
        self.num_tokens = self.num_flos = 0
        self.labels: list[tuple[Any, ...]] = []
        self.inputs: list[Batch] = []
        self.passes = [[i] for i in range(len(batches))]
        self.whole: Window | None = None

    def cut(self, rows: int) -> Window:
        """The same rows in micro-batches of at most so many, in order; padded as they were."""
        return self._regrouped(lambda named: [range(len(named))[i : i + rows] for i in range(0, len(named) or 1, rows)])

    def cut_at(self, row: int) -> Window:
        """The same rows, those that are numbered below `row` in micro-batches of their own, in order.

        Args:
            row: number of a row in the data set.
        """

        def parts(named: list[int]) -> list[list[int]]:
            below = [i for i, number in enumerate(named) if number < row]
            return [part for part in (below, [i for i, number in enumerate(named) if number >= row]) if part]

        return self._regrouped(parts)

    def _regrouped(self, parts: Callable[[list[int]], Sequence[Sequence[int]]]) -> Window:
        """Its rows in other micro-batches: of each, the places of the rows that go together."""
        batches, numbers, kept = [], [], []
        for batch, named, aside in zip(self.batches, self.rows, self.kept, strict=True):
            for part in parts(named):
                batches.append({k: _some(v, len(named), part) for k, v in batch.items()})
                numbers.append([named[i] for i in part])
                kept.append(None if aside is None else [aside[i] for i in part])
        window = Window(batches, numbers)
        window.kept = kept
        return window

    def is_blank(self, index: int) -> bool:
        """Whether a micro-batch stands in for none: this rank had no row of it, and it must not count."""
        return not self.rows[index]

    def join(self, most_tokens: int) -> None:
        """Puts packed micro-batches of an evaluation together, for fewer and larger matrix products.

        Args:
            most_tokens: of what is put together, far less than a training step keeps; a larger one stays alone.
        """
        passes: list[list[int]] = []
        tokens = 0
        for i, batch in enumerate(self.batches):
            added = sum(value.num_tokens for value in batch.values() if isinstance(value, PackedBatch))
            tokens += added
            if passes and tokens <= most_tokens and alike(self.batches[passes[-1][0]], batch):
                passes[-1].append(i)
            else:
                passes.append([i])
                tokens = added
        self.batches = [
            join_inputs([self.batches[i] for i in passed]) if len(passed) > 1 else self.batches[passed[0]]
            for passed in passes
        ]
        self.passes = passes

    def to(self, device: torch.device) -> Window:
        """Moves every tensor to a device, without waiting for it."""
        self.batches = [{k: move(v, device) for k, v in batch.items()} for batch in self.batches]
        return self

    def pin_memory(self) -> Window:
        """Called by the loader where `dataloader_pin_memory` is on and the device is a GPU."""
        self.batches = [
            {k: v.pin_memory() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            for batch in self.batches
        ]
        return self

    @classmethod
    def of(cls, batch: Window | Batch) -> Window:
        """A window as it is; an ordinary batch [B, ...] of a plain Lightning trainer as a window of one."""
        if isinstance(batch, Window):
            return batch
        return cls([batch], [list(range(len(next(iter(batch.values())))))])


def _some(value: Any, count: int, rows: Sequence[int]) -> Any:
    """The part of a column of `count` rows that is theirs; what has no value a row stays whole."""
    if isinstance(value, torch.Tensor):
        return value[list(rows)] if value.ndim > 0 and len(value) == count else value
    return [value[i] for i in rows] if isinstance(value, list) and len(value) == count else value


class WindowDataset(torch.utils.data.Dataset[Window]):
    """Collates the rows that a `WindowSampler` names.

    Args:
        rows: any map-style data set.
        collate: list of rows -> batch of tensors.
        keep_blanks: training needs a micro-batch on every rank, since gradients are exchanged; evaluation does not.
    """

    def __init__(self, rows: Any, collate: Collate, *, keep_blanks: bool) -> None:
        self.rows, self.collate, self.keep_blanks = rows, collate, keep_blanks
        self.draws_nothing = draws_nothing(rows, collate)

    def __getitem__(self, window: WindowRows) -> Window:
        kept = [share for share in window.shares if share or self.keep_blanks]
        if self.draws_nothing:  # seeding three generators takes as long as a small step
            return Window([self.collate(fetch(self.rows, share or [0])) for share in kept], kept)
        with seeded(window.seed), drawing(window.seed, window.epoch_seed):
            return Window([self.collate(fetch(self.rows, share or [0])) for share in kept], kept)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the generators of python, numpy and torch's CPU inside, and puts them back where they were after."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class Passes:
    """A loader whose windows come several at a time, for an evaluation that joins them (see `StepModule.prepare`).

    Args:
        loader: of windows.
        size: windows that are put together; the last may be of fewer.
    """

    def __init__(self, loader: DataLoader[Window], size: int) -> None:
        self.loader, self.size = loader, size

    def __len__(self) -> int:
        return -(-len(self.loader) // self.size)

    def __iter__(self) -> Iterator[Window]:
        windows = iter(self.loader)
        while few := list(islice(windows, self.size)):
            joined = Window([b for w in few for b in w.batches], [rows for w in few for rows in w.rows])
            joined.kept = [kept for w in few for kept in w.kept]
            yield joined


def fetch(dataset: Any, rows: list[int]) -> list[Any]:
    """Reads rows, all at once where the data set can (`__getitems__`, torch's protocol for batched reads)."""
    read = getattr(dataset, "__getitems__", None)
    return list(read(rows)) if read is not None else [dataset[row] for row in rows]


def window_loader(
    dataset: Any,
    collate: Collate,
    sampler: WindowSampler,
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch_factor: int | None = None,
    persistent_workers: bool = False,
    multiprocessing_context: str | None = None,
) -> DataLoader[Window]:
    """A loader of windows; its generator is its own, so that reading data never moves the global random state."""
    return DataLoader(
        WindowDataset(dataset, collate, keep_blanks=sampler.order_seed is not None),
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=persistent_workers and num_workers > 0,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        worker_init_fn=_leave_signals_to_the_run,
        generator=torch.Generator().manual_seed(sampler.order_seed or 0),
    )


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C, `timeout` and some schedulers signal workers too, who must live until the run has saved its last step.

    A second SIGTERM ends a worker: torch sends it to one that does not end by itself.
    """

    def ignore_once(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ignore_once)


def move(value: Any, device: torch.device) -> Any:
    """Tensors and packed batches move; anything else stays."""
    to = getattr(value, "to", None)
    return value if to is None else to(device, non_blocking=True)
