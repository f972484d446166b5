"""From a list of rows to a batch of tensors, with the public names and behaviours of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lt_trainer.losses import LOSS_WEIGHTS

if TYPE_CHECKING:
    from lt_trainer.data.windows import Batch

Row = Mapping[str, Any]
IGNORED_LABEL = -100


def default_data_collator(features: Sequence[Any], return_tensors: str = "pt") -> Batch:
    """Stacks rows whose values have one length; `label` and `label_ids` become `labels`.

    Args:
        features: rows: mappings, or objects with attributes.
        return_tensors: "pt" for torch, "np" for numpy.

    Raises:
        ValueError: rows of different lengths (with the names and lengths, and the collator that pads).
    """
    rows = [row if isinstance(row, Mapping) else vars(row) for row in features]
    batch: Batch = {}
    for key, value in rows[0].items():
        if value is None or isinstance(value, str):
            continue
        name = "labels" if key in ("label", "label_ids") else key
        batch[name] = _stack(name, [row[key] for row in rows], return_tensors)
    return batch


@dataclass
class DefaultDataCollator:
    """`default_data_collator` as an object.

    Args:
        return_tensors: "pt" or "np".
    """

    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Batch:
        """Rows of one length -> batch."""
        return default_data_collator(features, return_tensors or self.return_tensors)


@dataclass
class DataCollatorWithPadding:
    """Pads the rows of a batch to their longest (or to `max_length`) with the tokenizer's own `pad`.

    Args:
        tokenizer: pads on its `padding_side` with its `pad_token_id`.
        padding: True or "longest", "max_length", or False.
        max_length: tokens of a row for `padding="max_length"`.
        pad_to_multiple_of: rounds the length up, in tokens.
        return_tensors: "pt" or "np".
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Row]) -> Batch:
        """Rows -> batch [B, T]; `label` becomes `labels`."""
        batch = self._pad(features)
        for name in ("label", "label_ids"):
            if name in batch:
                batch["labels"] = batch.pop(name)
        return batch

    def _pad(self, features: Sequence[Row]) -> Batch:
        rows, weights = apart(features)
        padded = self.tokenizer.pad(
            rows,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
        )
        if weights is None:
            return dict(padded)
        width = padded["input_ids"].shape[1]
        return {**padded, **padded_weights(weights, width, self.tokenizer.padding_side, self.return_tensors)}


@dataclass
class DataCollatorForTokenClassification(DataCollatorWithPadding):
    """Pads the rows and, beside them, one label a token.

    Args:
        tokenizer: see DataCollatorWithPadding, as are the arguments between.
        label_pad_token_id: the label of pad positions; -100 keeps them out of the loss.
    """

    label_pad_token_id: int = IGNORED_LABEL

    def __call__(self, features: Sequence[Row]) -> Batch:
        """Rows -> batch [B, T] with labels [B, T]."""
        name = "label" if "label" in features[0] else "labels"
        if name not in features[0]:
            return self._pad(features)
        batch = self._pad([{key: value for key, value in row.items() if key != name} for row in features])
        width = batch["input_ids"].shape[1]
        labels_BT = np.full((len(features), width), self.label_pad_token_id, dtype=np.int64)
        for row, feature in enumerate(features):
            labels = feature[name]
            start = width - len(labels) if self.tokenizer.padding_side == "left" else 0
            labels_BT[row, start : start + len(labels)] = labels
        batch[name] = labels_BT if self.return_tensors == "np" else torch.from_numpy(labels_BT)
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Pads the source rows and, beside them, the labels to their own longest.

    Args:
        tokenizer: pads on its `padding_side`, sources and labels alike.
        model: makes `decoder_input_ids` of the labels by `prepare_decoder_input_ids_from_labels`, where it has that.
        padding: True or "longest", "max_length", or False.
        max_length: tokens of a row, of source and labels, for `padding="max_length"`.
        pad_to_multiple_of: rounds both lengths up, in tokens.
        label_pad_token_id: the label of pad positions; -100 keeps them out of the loss.
        return_tensors: "pt" or "np".
    """

    tokenizer: Any
    model: Any = None
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED_LABEL
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Row], return_tensors: str | None = None) -> Batch:
        """Rows -> batch [B, S] with labels [B, T]."""
        kind = return_tensors or self.return_tensors
        name = "label" if "label" in features[0] else "labels"
        rows, weights = apart(features)
        labels = [row.get(name) for row in rows]
        batch: Batch = dict(
            self.tokenizer.pad(
                [{key: value for key, value in row.items() if key != name} for row in rows],
                padding=self.padding,
                max_length=self.max_length,
                pad_to_multiple_of=self.pad_to_multiple_of,
                return_tensors=kind,
            )
        )
        if all(row is None for row in labels):
            return batch
        labels_BT = self._pad_labels(labels)
        batch["labels"] = labels_BT if kind == "np" else torch.from_numpy(labels_BT)
        batch |= padded_weights(weights, labels_BT.shape[1], self.tokenizer.padding_side, kind)
        prepare = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if prepare is not None:
            batch["decoder_input_ids"] = prepare(labels=batch["labels"])
        return batch

    def _pad_labels(self, labels: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
        if missing := [row for row, values in enumerate(labels) if values is None]:
            raise ValueError(
                f"labels: expected them in every row of a batch or in none, received none in row {missing[0]} of "
                f"{len(labels)}: fill the column, or leave it out"
            )
        width = max(len(row) for row in labels)
        if self.padding == "max_length" and self.max_length is not None:
            width = self.max_length
        if self.padding is not False and self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        lengths = {len(row) for row in labels}
        if max(lengths) > width or (self.padding is False and len(lengths) > 1):
            raise ValueError(
                f"labels: expected {width} tokens a row, received lengths {sorted(lengths)[:8]}: use "
                "padding=True, or truncate them while tokenizing"
            )
        labels_BT = np.full((len(labels), width), self.label_pad_token_id, dtype=np.int64)
        for row, values in zip(labels_BT, labels, strict=True):
            start = width - len(values) if self.tokenizer.padding_side == "left" else 0
            row[start : start + len(values)] = values
        return labels_BT


def apart(rows: Sequence[Row]) -> tuple[list[Row], list[Any] | None]:
    """Rows without their `loss_weights`, which a tokenizer does not pad, and those."""
    if LOSS_WEIGHTS not in rows[0]:
        return list(rows), None
    return [{k: v for k, v in row.items() if k != LOSS_WEIGHTS} for row in rows], [row[LOSS_WEIGHTS] for row in rows]


def padded_weights(weights: Sequence[Any] | None, width: int, side: str, kind: str) -> Batch:
    """The column of `loss_weights`, float32: [B] of a number a row, [B, T] of a list a row, 0 at pads; none of None.

    Raises:
        ValueError: a list that is longer than its row.
    """
    if weights is None:
        return {}
    if np.ndim(weights[0]) == 0:
        array = np.asarray(weights, dtype=np.float32)
    else:
        array = np.zeros((len(weights), width), dtype=np.float32)
        for row, values in zip(array, weights, strict=True):
            if len(values) > width:
                raise ValueError(
                    f"loss_weights: expected one beside each label, {width} at most, received {len(values)}: cut them "
                    "where the labels are cut"
                )
            start = width - len(values) if side == "left" else 0
            row[start : start + len(values)] = values
    return {LOSS_WEIGHTS: array if kind == "np" else torch.from_numpy(array)}


class KeepColumns:
    """Leaves out, before a collator sees them, the columns that the model does not take (`remove_unused_columns`).

    The data set itself is not changed, so a transform of the user's still sees every column
    (https://github.com/huggingface/transformers/issues/22119).

    Args:
        collate: the collator behind it.
        names: columns that stay.
        model_name: for the error.
    """

    def __init__(self, collate: Callable[[list[Any]], Batch], names: frozenset[str], model_name: str) -> None:
        self.collate, self.names, self.model_name = collate, names, model_name

    def __call__(self, features: list[Any]) -> Batch:
        """Rows -> batch, without the other columns."""
        if not isinstance(features[0], Mapping):
            return self.collate(features)
        kept = [{key: value for key, value in row.items() if key in self.names} for row in features]
        if not kept[0]:
            raise ValueError(
                f"none of the data set's columns {sorted(features[0])} is an argument of {self.model_name}.forward, "
                f"which takes {sorted(self.names)}: tokenize the data set first, or set remove_unused_columns=False"
            )
        return self.collate(kept)


_PLAIN = (DefaultDataCollator, DataCollatorWithPadding, DataCollatorForTokenClassification, DataCollatorForSeq2Seq)


def draws_nothing(rows: Any, collate: Any) -> bool:
    """Whether reading and collating rows surely draws no random number: these very classes, rows without a transform.

    Args:
        rows: a data set; of a list and of `datasets.Dataset` it is known.
        collate: list of rows -> batch.
    """
    if isinstance(collate, KeepColumns):
        return draws_nothing(rows, collate.collate)
    plain = collate is default_data_collator or type(collate) in _PLAIN
    kind = type(rows)
    if kind.__module__.partition(".")[0] == "datasets":
        return plain and rows.format["type"] != "custom"
    return plain and kind in (list, tuple)


def _stack(name: str, values: list[Any], kind: str) -> Any:
    """One tensor or array of a column, of the type that `transformers` gives it; labels as a loss takes them."""
    if isinstance(values[0], torch.Tensor):
        tensor = torch.stack(values)
        tensor = tensor if name != "labels" or tensor.is_floating_point() else tensor.long()
        return tensor.numpy() if kind == "np" else tensor
    lengths = {len(value) for value in values if isinstance(value, Sequence) or np.ndim(value)}
    if len(lengths) > 1:
        raise ValueError(
            f"column '{name}': expected rows of one length, received lengths {sorted(lengths)[:8]}: "
            "pad them with DataCollatorWithPadding(tokenizer) as data_collator, or while tokenizing"
        )
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"column '{name}': expected numbers, received {values[0]!r:.80}: leave the column out of the data set"
        )
    if name == "labels":
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    elif kind == "pt" and array.dtype == np.float64 and not isinstance(values[0], np.ndarray):
        array = array.astype(np.float32)  # numbers of Python have the type that torch gives them
    return array if kind == "np" else torch.from_numpy(array)
