"""What a batch may not hold, found on the CPU before anything is computed.

Dimension letters: N packed tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lt_trainer.losses import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.configuration import PretrainedConfig
    from lt_trainer.packed import PackedBatch

_ADVICE = {
    "input_ids": (
        "input_ids: row {row} of the batch holds the token id {wrong}, but the model's {setting} is {size}: "
        "use the tokenizer that belongs to the model"
    ),
    "position_ids": (
        "row {row} of the batch reaches position {wrong}, but the model's {setting} is {size}: "
        "tokenize with truncation=True, max_length={longest}"
    ),
    "token_type_ids": (
        "token_type_ids: row {row} of the batch holds type {wrong}, but the model's {setting} is {size}: "
        "leave token_type_ids out of the batch, or number them from 0"
    ),
}


def check_ids(packed: PackedBatch, config: PretrainedConfig) -> None:
    """Compares ids with the sizes of their tables; tensors on another device than the CPU are not read.

    Raises:
        ValueError: an id without a row in its table (names the row of the batch, the id and the table's size).
    """
    columns = {
        "input_ids": packed.input_ids_N,
        "position_ids": packed.position_ids_N,
        "token_type_ids": packed.token_type_ids_N,
    }
    for name, setting in config.row_limits.items():
        ids_N = columns[name]
        if ids_N is None or ids_N.device.type != "cpu":
            continue
        size = getattr(config, setting)
        low, high = (int(bound) for bound in ids_N.aminmax())
        if low < 0 or high >= size:
            wrong = high if high >= size else low
            row = int(packed.index_N[ids_N == wrong][0]) // packed.padded_shape[1]
            told = {"wrong": wrong, "row": row, "setting": setting, "size": size, "longest": config.max_row_tokens}
            raise ValueError(_ADVICE[name].format(**told))


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Compares class labels with the number of classes; tensors on another device than the CPU are not read.

    Raises:
        ValueError: a label outside 0..num_classes-1 that is not -100 (names the row of the batch and the label).
    """
    if labels.device.type != "cpu" or labels.is_floating_point():
        return
    wrong = (labels != IGNORED) & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        place = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(
            f"labels: expected 0..{num_classes - 1} (or {IGNORED} for no target), received {int(labels[place])} in row "
            f"{place[0]} of the batch: give the model num_labels={int(labels.max()) + 1}, or correct the data"
        )
