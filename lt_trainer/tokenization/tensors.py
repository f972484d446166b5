"""Columns of lists to tensors and arrays."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

TENSOR_TYPES = ("pt", "np")


def to_tensor(name: str, value: Any, kind: str | Enum) -> Any:
    """A column as a tensor or an array.

    Args:
        name: The column, for messages.
        value: Nested lists, arrays or tensors; one that is a tensor (array) already is returned as it is.
        kind: "pt" or "np".

    Returns:
        Integers as int64, Python floats as float32 ("pt") or float64 ("np"); a ragged column as an array of arrays
        ("np").

    Raises:
        ValueError: If `kind` is neither, or the column is ragged ("pt"), or holds text or None.
    """
    kind = str(kind.value) if isinstance(kind, Enum) else kind
    if kind == "np":
        return value if isinstance(value, np.ndarray) else _as_array(name, value, ragged_is_fine=True)
    if kind != "pt":
        raise ValueError(
            f"return_tensors={kind!r}: expected one of {', '.join(map(repr, TENSOR_TYPES))} or None: 'pt' for torch"
        )
    return _as_torch(name, value)


def as_lists(value: Any) -> Any:
    """An array or a tensor (or a scalar of either) as Python numbers in lists; anything else as it is."""
    import torch

    return value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value


def _as_torch(name: str, value: Any) -> torch.Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
        if len({row.shape for row in value}) > 1:
            raise ValueError(_ragged(name, value))
        return torch.stack(value)
    array = _as_array(name, value)
    python_floats = array.dtype == np.float64 and not _holds_arrays(value)
    return torch.from_numpy(array.astype(np.float32) if python_floats else array)


def _as_array(name: str, value: Any, ragged_is_fine: bool = False) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        if not ragged_is_fine:
            raise ValueError(_ragged(name, value)) from error
        array = np.empty(len(value), dtype=object)
        array[:] = [np.asarray(row) for row in value]
        return array
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "biufc":
        example = array.reshape(-1)[0]
        raise ValueError(
            f"column {name!r} holds {type(example).__name__} ({example!r}), which cannot become a tensor: "
            "remove the column, or leave return_tensors out"
        )
    return array


def _holds_arrays(value: Any) -> bool:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, np.ndarray | np.generic)


def _ragged(name: str, value: Any) -> str:
    lengths = sorted({len(row) for row in value if hasattr(row, "__len__")})
    shown = f"lengths {lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else "rows of different shapes"
    return (
        f"column {name!r} has {shown}, so it cannot become one tensor: pass padding=True (and truncation=True), "
        "or pad this column in the collator"
    )
