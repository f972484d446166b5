"""What `torch.load(weights_only=True)` reads back, and how a value is brought to it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch

_LEAVES = (str, bytes, int, float, bool, complex, type(None), torch.Size, torch.dtype, torch.device)


def plain(value: Any, place: str) -> Any:
    """A copy of the containers of `value` with numpy's scalars and arrays turned into Python's and torch's.

    Tensors are not copied, views of larger ones excepted.

    Args:
        value: nested dicts, lists, tuples, sets of numbers, text and tensors.
        place: how the value is called in messages, such as a file name.

    Raises:
        TypeError: something that a strict load refuses, with the way to it.
    """
    if isinstance(value, torch.Tensor):
        own = value.numel() * value.element_size() == value.untyped_storage().nbytes()
        return value.detach() if own else value.detach().clone()  # torch.save writes the whole storage of a view
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):  # np.float64 is a float, but is pickled as numpy's
        return value.item()
    if type(value) in _LEAVES:
        return value
    if type(value) in (dict, OrderedDict, Counter):
        items = {plain(key, place): plain(item, f"{place}[{key!r}]") for key, item in value.items()}
        return items if type(value) is dict else type(value)(items)
    if type(value) in (list, tuple, set):
        return type(value)(plain(item, f"{place}[{i}]") for i, item in enumerate(value))
    raise TypeError(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}: expected dicts, lists, tuples, numbers, "
        "text and tensors, which can be read back without running code. Turn it into those in state_dict()."
    )
