from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lt_trainer.files.plain import plain


class Pair(NamedTuple):
    left: int
    right: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(2.5), 2.5),
    ],
)
def test_numpy_values_become_pythons(value: Any, expected: Any) -> None:
    found = plain(value, "x")
    assert found == expected
    assert type(found) is type(expected)


def test_containers_keep_their_kind_and_order() -> None:
    value = {"b": OrderedDict(z=1, a=2), "a": Counter("aab"), "t": (1, [2]), "s": {3}}
    found = plain(value, "x")
    assert found == value
    assert [*found] == ["b", "a", "t", "s"]
    assert [type(item) for item in found.values()] == [OrderedDict, Counter, tuple, set]


def test_containers_are_copies() -> None:
    inner = [1]
    plain({"a": inner}, "x")["a"].append(2)
    assert inner == [1]


def test_numpy_keys_become_pythons() -> None:
    (key,) = plain({np.int64(7): 1}, "x")
    assert type(key) is int


def test_a_whole_tensor_is_not_copied() -> None:
    tensor = torch.zeros(4, requires_grad=True)
    found = plain(tensor, "x")
    assert found.data_ptr() == tensor.data_ptr()
    assert not found.requires_grad


def test_a_view_is_copied_so_that_its_storage_is_its_own() -> None:
    found = plain(torch.arange(100)[3:5], "x")
    assert found.tolist() == [3, 4]
    assert found.untyped_storage().nbytes() == 16


@pytest.mark.parametrize("value", [None, True, 3, 0.5, 1j, "text", b"bytes", torch.float16, torch.Size([2, 3])])
def test_what_a_strict_load_knows_passes_as_it_is(value: Any) -> None:
    assert plain(value, "x") is value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Path("a"), r"^x is a pathlib"),
        ({"a": [0, {1, 2}, Path()]}, r"^x\['a'\]\[2\] is a pathlib"),
        ([Pair(1, 2)], r"^x\[0\] is a .*Pair"),
        ({"f": print}, r"^x\['f'\] is a builtins\.builtin_function"),
    ],
)
def test_anything_else_is_refused_with_the_way_to_it(value: Any, place: str) -> None:
    with pytest.raises(TypeError, match=place):
        plain(value, "x")
