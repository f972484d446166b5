"""Which row comes when: a pure function of seed, epoch and row count, so that resuming is arithmetic."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.data import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def epoch_order(num_rows: int, seed: int, epoch: int) -> list[int]:
    """The order of the training rows in one epoch, equal to that of `transformers.Trainer`.

    Args:
        num_rows: rows of the data set.
        seed: `data_seed` where it is given, else `seed`.
        epoch: counted from 0.

    Source: accelerate, SeedableRandomSampler (generator seeded with seed + epoch).
    """
    generator = torch.Generator().manual_seed(seed + epoch)
    order: list[int] = torch.randperm(num_rows, generator=generator).tolist()
    return order


def length_grouped(lengths: Sequence[int], batch_size: int) -> Callable[[int, int], list[int]]:
    """An order in which neighbours are of like length, as (seed, epoch) -> rows.

    The rows are shuffled, cut into blocks of many batches, and sorted in each block, the longest first; the longest of
    all comes first, so that memory runs out at once or never.

    Args:
        lengths: of each row.
        batch_size: rows that are to be alike.

    Source: transformers, LengthGroupedSampler. It draws from the global generator, once for its loader and once for the
        order in each epoch: where nothing else draws from it (dropout, evaluations), its order is this one.
    """
    block = batch_size * (min(len(lengths) // (batch_size * 4), 50) or 1)

    def order(seed: int, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epoch + 1):
            torch.empty((), dtype=torch.int64).random_(generator=generator)  # its loader's
            shuffled: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
        blocks = [shuffled[start : start + block] for start in range(0, len(shuffled), block)]
        blocks = [sorted(rows, key=lambda row: lengths[row], reverse=True) for rows in blocks]
        longest = max(range(len(blocks)), key=lambda number: lengths[blocks[number][0]])
        blocks[0][0], blocks[longest][0] = blocks[longest][0], blocks[0][0]
        return [row for rows in blocks for row in rows]

    return order


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Rows by their lengths, for batches whose rows end at about the same step; the first is the largest of all."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def deal(rows: Sequence[int], batch_size: int, rank: int, world_size: int) -> list[list[int]]:
    """Cuts the rows of one optimizer step into micro-batches and takes this rank's share of each.

    A micro-batch of all ranks together is `batch_size * world_size` rows; a short one is dealt as evenly as it
    can be, so that no row is seen twice and every rank has the same number of micro-batches. A rank's share is
    empty where a micro-batch has fewer rows than there are ranks.

    >>> deal(range(10), batch_size=3, rank=0, world_size=2)
    [[0, 1, 2], [6, 7]]
    >>> deal(range(10), batch_size=3, rank=1, world_size=2)
    [[3, 4, 5], [8, 9]]
    """
    shares = []
    for start in range(0, len(rows), batch_size * world_size):
        part = rows[start : start + batch_size * world_size]
        shares.append(list(part[_bound(len(part), rank, world_size) : _bound(len(part), rank + 1, world_size)]))
    return shares


def _bound(count: int, rank: int, world_size: int) -> int:
    """Where the share of `rank` begins when `count` rows are dealt: the first ranks take one more."""
    return rank * (count // world_size) + min(rank, count % world_size)


def mix(*numbers: int) -> int:
    """One 63-bit seed of several numbers, the same in every process and version of Python."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


class WindowRows(NamedTuple):
    """What a loader's worker needs to make a window.

    Attributes:
        shares: this rank's row numbers in each micro-batch.
        seed: of whatever a collator draws; a function of seed, epoch, step and rank, so that resuming and workers
            change nothing.
        epoch_seed: of whatever is drawn for a row; a function of seed and epoch alone, so that ranks and the size of
            a batch change nothing.
    """

    shares: list[list[int]]
    seed: int
    epoch_seed: int


class WindowSampler(DistributedSampler[WindowRows]):
    """Yields, for each optimizer step, this rank's rows of each micro-batch.

    It is a `DistributedSampler` by name alone: Lightning puts its own, which repeats rows, in the place of any other.

    `len()` is the number of steps of a whole epoch, also where iteration starts at a later one: Lightning takes
    it for the length of the epoch. Lightning's `set_epoch` reaches a loader's `sampler`, which this is.

    Args:
        num_rows: rows of the data set.
        batch_size: rows of a micro-batch on one device.
        accumulation: micro-batches of an optimizer step.
        order: "random", "sequential", (seed, epoch) -> rows, or the rows themselves.
        seed: of the order; None keeps the rows in their order, or in that of `order` where it holds rows (evaluation).
        drop_last: leaves out a micro-batch that is not full.
        rank: this process.
        world_size: all processes.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        accumulation: int = 1,
        *,
        seed: int | None = None,
        order: str | Sequence[int] | Callable[[int, int], list[int]] = "random",
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_rows, self.batch_size, self.accumulation = num_rows, batch_size, accumulation
        self.order_seed, self.drop_last, self.rank, self.world_size = seed, drop_last, rank, world_size
        self.order = order
        self.epoch = 0
        self.start = 0  # steps of this epoch that were done before a resume

    @property
    def rows_used(self) -> int:
        """Rows of an epoch that are seen: all, or those of full micro-batches with `drop_last`."""
        full = self.batch_size * self.world_size
        return self.num_rows // full * full if self.drop_last else self.num_rows

    @property
    def rows_per_step(self) -> int:
        """Rows of a full optimizer step, over all ranks."""
        return self.batch_size * self.world_size * self.accumulation

    def __len__(self) -> int:
        return -(-self.rows_used // self.rows_per_step)

    def share_done(self, steps: int) -> float:
        """The share of an epoch that `steps` of its optimizer steps are, counted in micro-batches."""
        batches = -(-self.rows_used // (self.batch_size * self.world_size))
        return min(steps * self.accumulation, batches) / batches

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; another one than that of a resume begins at its first step."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def _rows(self) -> Sequence[int]:
        if not isinstance(self.order, str) and not callable(self.order):
            return self.order
        if self.order_seed is None or self.order == "sequential":
            return range(self.num_rows)
        if callable(self.order):
            return self.order(self.order_seed, self.epoch)
        return epoch_order(self.num_rows, self.order_seed, self.epoch)

    def __iter__(self) -> Iterator[WindowRows]:
        """Lightning asks for the iterator before it calls `set_epoch`, so nothing is read before the first `next`.

        It asks twice where a run goes on in a later epoch, and workers read ahead for both: the two are the same.
        """
        order = self._rows()
        drawn = (0, 0) if self.order_seed is None else (self.order_seed, self.epoch)  # evaluations draw the same again
        for step in range(self.start, len(self)):
            first = step * self.rows_per_step
            rows = order[first : min(first + self.rows_per_step, self.rows_used)]
            shares = deal(rows, self.batch_size, self.rank, self.world_size)
            yield WindowRows(shares, mix(*drawn, step, self.rank), mix(*drawn))
