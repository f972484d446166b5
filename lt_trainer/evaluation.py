"""Gathers an evaluation: an exact loss over all targets and, where somebody reads them, the rows' predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lt_trainer.drivers import Driver

FILL = -100  # what `transformers` fills with where predictions of different lengths are put together


@dataclass
class Part:
    """What one batch brings.

    Attributes:
        rows: row numbers in the data set.
        loss: sum over the batch's targets, 0-d; None without labels.
        count: its targets.
        predictions: a tensor of as many rows, or a tuple of them; None where nobody reads them.
        labels: likewise.
    """

    rows: list[int]
    loss: torch.Tensor | None
    count: int
    predictions: Any = None
    labels: Any = None


class Evaluation:
    """Adds up the parts of one pass over a data set.

    The loss is the sum over all targets divided by their count, so it does not depend on the batch size
    (https://github.com/huggingface/transformers/issues/39241).

    Args:
        keep_predictions: keeps every row's predictions and labels on the host.
        ignore_keys: outputs of the model that are no predictions.
    """

    def __init__(self, keep_predictions: bool = False, ignore_keys: Iterable[str] = ()) -> None:
        self.keep_predictions = keep_predictions
        self.ignore_keys = tuple(ignore_keys)
        self._loss: torch.Tensor | None = None
        self._count = 0
        self._rows: list[int] = []
        self._predictions: list[Any] = []
        self._labels: list[Any] = []

    def add(self, part: Part) -> None:
        """Takes in a batch; its loss stays on the device until `loss` is asked for."""
        self._rows += part.rows
        if part.loss is not None:
            loss = part.loss.detach().double()
            self._loss = loss if self._loss is None else self._loss + loss
            self._count += part.count
        if self.keep_predictions:
            self._predictions.append(to_numpy(part.predictions))
            self._labels.append(to_numpy(part.labels))

    def loss(self, driver: Driver) -> float | None:
        """The mean loss over the targets of all processes; None where no batch had labels."""
        parts = driver.gather((None if self._loss is None else self._loss.item(), self._count))
        sums = [loss for loss, _ in parts if loss is not None]
        count = sum(count for _, count in parts)
        if not sums:
            return None
        return sum(sums) / count if count else float("nan")

    def num_rows(self, driver: Driver) -> int:
        """Rows that were seen, over all processes."""
        return sum(driver.gather(len(self._rows)))

    def predictions(self, driver: Driver) -> tuple[Any, Any]:
        """(predictions, labels) of all processes in the order of the data set's rows, as numpy; None where absent.

        Rows of different lengths are filled up with -100 on the right.
        """
        parts = driver.gather((self._rows, self._predictions, self._labels))
        rows = np.array([row for part, _, _ in parts for row in part])
        order = np.argsort(rows, kind="stable")
        predictions = concatenate([batch for _, batches, _ in parts for batch in batches])
        labels = concatenate([batch for _, _, batches in parts for batch in batches])
        if (order == np.arange(len(order))).all():  # one process reads rows in order: spare the copy
            return predictions, labels
        return take(predictions, order), take(labels, order)


def to_numpy(value: Any) -> Any:
    """Tensors of a nest of tuples, lists and mappings as numpy arrays; bfloat16 as float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
    if isinstance(value, tuple | list):
        return tuple(to_numpy(item) for item in value)
    if isinstance(value, dict):
        return {key: to_numpy(item) for key, item in value.items()}
    return value


def concatenate(batches: list[Any]) -> Any:
    """One array of many batches along the rows; other dimensions are filled up with -100 to the largest."""
    if not batches or batches[0] is None:
        return None
    if isinstance(batches[0], tuple):
        return tuple(concatenate([batch[i] for batch in batches]) for i in range(len(batches[0])))
    if isinstance(batches[0], dict):
        return {key: concatenate([batch[key] for batch in batches]) for key in batches[0]}
    width = np.max([batch.shape[1:] for batch in batches], axis=0)
    if all(batch.shape[1:] == tuple(width) for batch in batches):
        return np.concatenate(batches)
    whole = np.full((sum(map(len, batches)), *width.astype(int)), FILL, dtype=batches[0].dtype)
    start = 0
    for batch in batches:
        whole[(slice(start, start + len(batch)), *map(slice, batch.shape[1:]))] = batch
        start += len(batch)
    return whole


def take(value: Any, order: np.ndarray) -> Any:
    """Rows of every array of a nest in a given order.

    Args:
        value: arrays [rows, ...], or tuples and dicts of them; None stays None.
        order: int64 row numbers, [rows].
    """
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(take(item, order) for item in value)
    if isinstance(value, dict):
        return {key: take(item, order) for key, item in value.items()}
    return value[order]
