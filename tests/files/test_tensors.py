"""Tensors on disk: the bytes of the safetensors library, and what a strict torch.load reads."""

from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from lt_trainer import files
from lt_trainer.files.headers import read_header
from lt_trainer.files.tensors import DTYPES, plan_shards

# --- tensors ----------------------------------------------------------------------------------------------------------


def every_kind() -> dict[str, torch.Tensor]:
    tensors = {}
    for name, dtype in DTYPES.items():
        raw = torch.arange(12 * dtype.itemsize, dtype=torch.uint8) % (2 if dtype is torch.bool else 50)
        tensors[f"w.{name}"] = raw.view(dtype).reshape(3, 4)
    return tensors | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        'a "quoted"\nümlaut': torch.ones(2, dtype=torch.bfloat16),
        "odd": torch.arange(3, dtype=torch.uint8),
    }


def test_safetensors_files_equal_the_librarys_byte_for_byte(tmp_path: Path) -> None:
    tensors = every_kind()
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_safetensors("m.safetensors", tensors)
    safetensors.torch.save_file(tensors, tmp_path / "library", metadata={"format": "pt"})
    assert (tmp_path / "x" / "m.safetensors").read_bytes() == (tmp_path / "library").read_bytes()


def test_our_header_reader_agrees_with_the_library(tmp_path: Path) -> None:
    tensors = every_kind()
    safetensors.torch.save_file(tensors, tmp_path / "library")
    stored = read_header(tmp_path / "library")
    assert stored.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = stored[name].read()
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert found.reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


def test_strides_and_views_are_written_as_values(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "t": base.t(),
        "step": base[:, ::2],
        "wide": torch.ones(1).expand(3, 2),
        "conj": torch.tensor([1j]).conj(),
    }
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_safetensors("m.safetensors", tensors)
    found = safetensors.torch.load_file(tmp_path / "x" / "m.safetensors")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_metadata_tell_transformers_whose_file_it_is(tmp_path: Path) -> None:
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_safetensors("m.safetensors", {"w": torch.ones(1)}, metadata={"step": "3"})
    with safetensors.safe_open(tmp_path / "x" / "m.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "step": "3"}


def test_tensors_that_the_format_cannot_hold_are_named(tmp_path: Path) -> None:
    sparse = torch.eye(2).to_sparse()
    with pytest.raises(ValueError, match=r"'bad' is torch.float32"), files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_safetensors("m.safetensors", {"bad": sparse})


def test_shards_are_filled_in_order() -> None:
    tensors = {"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(5), "d": torch.zeros(1)}  # 8, 4, 20, 4 bytes
    assert plan_shards(tensors, 12) == {
        "model-00001-of-00003.safetensors": ["a", "b"],
        "model-00002-of-00003.safetensors": ["c"],
        "model-00003-of-00003.safetensors": ["d"],
    }
    assert plan_shards(tensors, 36) == {"model.safetensors": ["a", "b", "c", "d"]}
    assert plan_shards({}, 36) == {"model.safetensors": []}


# --- torch.save -------------------------------------------------------------------------------------------------------


def test_write_torch_is_read_strictly(tmp_path: Path) -> None:
    value = {
        "state": {0: {"step": torch.tensor(3.0), "avg": torch.ones(2, 3)}},
        "groups": [{"lr": np.float64(0.5), "betas": (0.9, 0.999), "params": [0]}],
        "counter": Counter({3: 1}),
        "ordered": OrderedDict(a=None),
        "numpy": np.arange(3, dtype=np.uint32),
    }
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_torch("o.pt", value)
    found = torch.load(tmp_path / "x" / "o.pt", weights_only=True)
    assert found["groups"] == [{"lr": 0.5, "betas": (0.9, 0.999), "params": [0]}]
    assert found["state"][0]["avg"].equal(torch.ones(2, 3))
    assert found["counter"] == {3: 1}
    assert found["numpy"] == [0, 1, 2]
    assert files.read_torch(tmp_path / "x" / "o.pt")["groups"] == found["groups"]


def test_write_torch_names_the_place_of_what_it_refuses(tmp_path: Path) -> None:
    with (
        pytest.raises(TypeError, match=r"o\.pt\['a'\]\[1\] is a pathlib"),
        files.AtomicFolder(tmp_path / "x") as folder,
    ):
        folder.write_torch("o.pt", {"a": [1, Path()]})


def test_a_view_does_not_take_its_whole_storage_along(tmp_path: Path) -> None:
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_torch("o.pt", {"a": torch.zeros(1_000_000)[:2]})
    assert folder.written["o.pt"][0] < 10_000
