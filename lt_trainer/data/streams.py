"""Data sets without rows by number: read in their own order, each process its share of every micro-batch."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lt_trainer.data.draws import drawing
from lt_trainer.data.order import deal, mix
from lt_trainer.data.windows import seeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lt_trainer.data.windows import Batch, Collate


class StreamBatches(IterableDataset["Batch"]):
    """The collated micro-batches of one pass over a stream.

    Shuffling is the stream's own affair, such as `datasets`' shuffle buffer; it is told each epoch by `set_epoch`,
    where it takes that. With workers, each reads the stream as a whole, unless it deals itself out among them
    (`torch.utils.data.get_worker_info`, or `datasets`, which does).

    Args:
        rows: iterable of rows.
        collate: list of rows -> batch of tensors.
        batch_size: rows of a micro-batch on one process.
        seed: of what the collator draws; None draws the same in each pass.
        drop_last: leaves out a micro-batch that is not full.
        rank: this process.
        world_size: all processes; each reads the whole stream and takes its rows of every micro-batch.
    """

    def __init__(
        self,
        rows: Iterable[Any],
        collate: Collate,
        batch_size: int,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows, self.collate, self.batch_size, self.seed = rows, collate, batch_size, seed
        self.drop_last, self.rank, self.world_size = drop_last, rank, world_size
        self.epoch = 0
        self.start = 0  # micro-batches that are read past, uncollated

    def set_epoch(self, epoch: int) -> None:
        """Tells the stream which pass it is, where it takes that."""
        self.epoch = epoch
        tell = getattr(self.rows, "set_epoch", None)
        if tell is not None:
            tell(epoch)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        drawn = mix(self.seed or 0, self.epoch if self.seed is not None else 0, 0 if worker is None else worker.id)
        whole = self.batch_size * self.world_size
        rows = iter(self.rows)
        number = self.start
        next(islice(rows, number * whole, number * whole), None)  # reads past what was done before
        while few := list(islice(rows, whole)):
            if len(few) < whole and (self.drop_last or len(few) < self.world_size):
                return
            share = deal(few, self.batch_size, self.rank, self.world_size)[0]
            batch_seed = mix(drawn, number, self.rank)
            with seeded(batch_seed), drawing(batch_seed, drawn):
                yield self.collate(share)
            number += 1


class StreamLoader(DataLoader[Any]):
    """A loader of a stream's micro-batches; it has no length.

    Args:
        batches: of the stream.
        options: `num_workers` and its like, as `torch.utils.data.DataLoader` takes them.
    """

    def __init__(self, batches: StreamBatches, **options: Any) -> None:
        if not options.get("num_workers"):
            options |= {"prefetch_factor": None, "persistent_workers": False, "multiprocessing_context": None}
        super().__init__(batches, batch_size=None, **options)
        self.batches = batches

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        raise TypeError("a stream has no length")

    def skip(self, count: int) -> int:
        """Leaves out micro-batches of the next pass without collating them; returns how many the caller must drop.

        Workers take turns, so that only their loader knows which batches come first.
        """
        self.batches.start = 0 if self.num_workers else count
        return count if self.num_workers else 0
