"""Gathers an evaluation: an exact loss over all targets and, where somebody reads them, the rows' predictions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lt_trainer.arrays import Columns, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch
    from torch import nn

    from lt_trainer.drivers import Driver

_MESSAGE = 16 * 2**20  # bytes, about, that a process sends at a time


@dataclass
class Part:
    """What one batch brings.

    Attributes:
        rows: row numbers in the data set.
        loss: sum over the batch's targets, 0-d; None without labels.
        count: its targets.
        predictions: a tensor of as many rows, or a nest of them; None where nobody reads them.
        labels: likewise.
        inputs: the batch as the collator made it, where the evaluation picks any of it.
        kept: what the rows hold that the model does not take; see `data.windows.KeepAside`.
        plain_loss: as `loss`, without label smoothing; None where nothing is smoothed.
        predicted: whether these rows are among those that are predicted; see `Evaluation`.
    """

    rows: list[int]
    loss: torch.Tensor | None
    count: float
    predictions: Any = None
    labels: Any = None
    inputs: Any = None
    kept: list[dict[str, Any]] | None = None
    plain_loss: torch.Tensor | None = None
    predicted: bool = True


class Kept(NamedTuple):
    """What somebody reads of rows: nests of tensors (a batch on its way) or of numpy arrays; None where absent.

    `rows` are the numbers of the rows in the data set, in the order of the others, as numpy.
    """

    predictions: Any = None
    labels: Any = None
    inputs: Any = None
    losses: Any = None
    rows: Any = None


_STORED = Kept._fields[:-1]


class Evaluation:
    """Adds up the parts of one pass over a data set.

    The loss is the sum over all targets divided by their count, so it does not depend on the batch size
    (https://github.com/huggingface/transformers/issues/39241).

    Args:
        keep_predictions: keeps every row's predictions and labels on the host: see arrays.Column for how.
        ignore_keys: outputs of the model that are no predictions.
        preprocess: (predictions, labels) -> what is kept of the predictions of a batch, on the device.
        pick_inputs: what is kept of a batch as the collator made it; None: nothing.
        keeps_losses: keeps for each row the mean loss of its batch.
        concatenates: False keeps a list with an item for each batch.
        hold: batches that stay on the device before they are moved to the host together (`eval_accumulation_steps`).
        on_batch: gets every batch in place of its being kept, or, with `keeps_all`, beside it.
        keeps_all: see `on_batch`.
        read: called with each part as it comes, predictions included; nothing of them need be kept.
        needs_labels: a batch without the columns that `label_names` names is an error.
        predicts: the first rows of the data set, so many, are predicted, the others only enter the loss; None: all.
    """

    def __init__(
        self,
        keep_predictions: bool = False,
        ignore_keys: Iterable[str] = (),
        *,
        preprocess: Callable[[Any, Any], Any] | None = None,
        pick_inputs: Callable[[dict[str, Any]], Any] | None = None,
        keeps_losses: bool = False,
        concatenates: bool = True,
        hold: int = 1,
        on_batch: Callable[[Kept], None] | None = None,
        keeps_all: bool = True,
        read: Callable[[Part], None] | None = None,
        needs_labels: bool = False,
        predicts: int | None = None,
    ) -> None:
        self.read = read
        self.keep_predictions, self.ignore_keys, self.preprocess = keep_predictions, tuple(ignore_keys), preprocess
        self.pick_inputs, self.keeps_losses, self.concatenates = pick_inputs, keeps_losses, concatenates
        self.hold, self.on_batch, self.keeps_all, self.needs_labels = hold, on_batch, keeps_all, needs_labels
        self.predicts = predicts if self.wants_predictions else None
        self._loss: torch.Tensor | None = None
        self._plain_loss: torch.Tensor | None = None
        self._count: float = 0
        self._num_rows = self._num_predicted = 0
        self._held: list[tuple[list[int], Kept]] = []
        self._rows: list[list[int]] = []  # of each batch that is kept
        self._columns = self._new_columns()

    @property
    def reads_labels(self) -> bool:
        """Whether somebody reads a batch's labels beside its predictions, on the device."""
        return self.preprocess is not None or self.on_batch is not None

    @property
    def wants_predictions(self) -> bool:
        """Whether anybody reads what the model predicts."""
        return self.keep_predictions or self.read is not None

    def add(self, part: Part) -> None:
        """Takes in a batch; its loss stays on the device until `loss` is asked for."""
        if self.read is not None and part.predicted:
            self.read(part)
        self._num_rows += len(part.rows)
        self._num_predicted += len(part.rows) if part.predicted else 0
        if part.loss is not None:
            loss = part.loss.detach().double()
            self._loss = loss if self._loss is None else self._loss + loss
            self._count += part.count
        if part.plain_loss is not None:
            plain = part.plain_loss.double()
            self._plain_loss = plain if self._plain_loss is None else self._plain_loss + plain
        if not self.keep_predictions or not part.predicted:
            return
        kept = self._kept(part)
        if self.on_batch is not None:
            self.on_batch(kept)
        if self.keeps_all:
            self._held.append((part.rows, kept))
            if len(self._held) >= self.hold:
                self._store()

    def _kept(self, part: Part) -> Kept:
        predictions = part.predictions
        if self.preprocess is not None and predictions is not None:
            predictions = self.preprocess(predictions, part.labels)
        losses = None
        if self.keeps_losses and part.loss is not None:
            losses = (part.loss / (part.count or 1)).detach().repeat(len(part.rows))
        inputs = self.pick_inputs(part.inputs) if self.pick_inputs is not None else None
        return Kept(predictions, part.labels, inputs, losses, np.array(part.rows))

    def _store(self) -> None:
        for rows, kept in self._held:
            self._rows.append(rows)
            for columns, nest in zip(self._columns, kept, strict=False):
                columns.append(to_numpy(nest))
        self._held.clear()

    def _new_columns(self) -> tuple[Columns, ...]:
        return tuple(Columns(concatenates=self.concatenates) for _ in _STORED)

    def loss(self, driver: Driver) -> float | None:
        """The mean loss over the targets of all processes; None where no batch had labels."""
        return self._mean(self._loss, driver)

    def plain_loss(self, driver: Driver) -> float | None:
        """Likewise without label smoothing; None where nothing is smoothed."""
        return self._mean(self._plain_loss, driver)

    def _mean(self, total: torch.Tensor | None, driver: Driver) -> float | None:
        parts = driver.gather((None if total is None else total.item(), self._count))
        sums = [loss for loss, _ in parts if loss is not None]
        count = sum(count for _, count in parts)
        if not sums:
            return None
        return sum(sums) / count if count else float("nan")

    def num_rows(self, driver: Driver) -> int:
        """Rows that were seen, over all processes."""
        return sum(driver.gather(self._num_rows))

    def num_predicted(self, driver: Driver) -> dict[str, int]:
        """Rows that were predicted, over all processes, as a metric; nothing where that is to be all of them."""
        return {} if self.predicts is None else {"predicted_rows": sum(driver.gather(self._num_predicted))}

    def collect(self, driver: Driver, *, everywhere: bool = True) -> Kept:
        """What was kept, of all processes in the order of the data set's rows, as numpy.

        Rows of different lengths are filled up with -100 on the right.

        Args:
            driver: brings the parts of other processes.
            everywhere: on every process; else on the first alone, and nothing on others.
        """
        self._store()
        columns, rows = self._columns, self._rows
        if driver.world_size > 1:
            columns, rows = self._new_columns(), []
            for found, kept in self.batches(driver):
                rows.append(found)
                if everywhere or driver.rank == 0:
                    for column, nest in zip(columns, kept, strict=False):
                        column.append(nest)
        came = np.array([row for batch in rows for row in batch], np.int64)
        order = np.argsort(came, kind="stable")
        in_order = bool((order == np.arange(len(order))).all())
        return Kept(*(column.whole(None if in_order else order) for column in columns))._replace(rows=came[order])

    def batches(self, driver: Driver) -> Iterator[tuple[list[int], Kept]]:
        """Every batch that was kept, rows and arrays, with the shares of all processes put together.

        All processes iterate to the end together; each sends about 16 MB at a time.
        """
        self._store()
        sizes = driver.gather((len(self._rows), sum(columns.num_bytes for columns in self._columns)))
        count, num_bytes = (max(numbers) for numbers in zip(*sizes, strict=True))
        step = max(1, count * _MESSAGE // max(num_bytes, 1))
        for start in range(0, count, step):
            own = [self._batch(index) for index in range(start, min(start + step, count))]
            for shares in zip(*driver.gather(own), strict=True):
                yield _together([share for share in shares if share is not None])

    def _batch(self, index: int) -> tuple[list[int], Kept] | None:
        """A batch of this process; None where it had no share of the last one."""
        if index >= len(self._rows):
            return None
        rows = self._rows[index]
        return rows, Kept(*(columns.batch(index) for columns in self._columns))._replace(rows=np.array(rows))


@contextmanager
def weights_as(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Casts a model's weights and puts the very same ones back: they take half as much again meanwhile.

    Args:
        model: any.
        dtype: of the weights inside; None changes nothing.
    """
    tensors = (*model.parameters(), *model.buffers()) if dtype is not None else ()
    kept = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()]
    try:
        for tensor, data in kept:
            tensor.data = data.to(dtype)
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def _together(shares: list[tuple[list[int], Kept]]) -> tuple[list[int], Kept]:
    columns = tuple(Columns() for _ in _STORED)
    for _, kept in shares:
        for column, nest in zip(columns, kept, strict=False):
            column.append(nest)
    found = [row for rows, _ in shares for row in rows]
    return found, Kept(*(column.whole() for column in columns))._replace(rows=np.array(found))
