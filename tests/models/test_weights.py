"""The index of a model folder, on files made by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from lt_trainer.models.weights import WeightIndex, read_config, some

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"


def shards(folder: Path, files: dict[str, dict[str, torch.Tensor]], weight_map: dict[str, str] | None = None) -> Path:
    """Writes shards and an index of them (another one, where it is given)."""
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    found = {key: name for name, tensors in files.items() for key in tensors}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map or found}))
    return folder


def test_one_file_is_known_by_its_header(tmp_path: Path) -> None:
    save_file({"w": torch.arange(6.0).reshape(2, 3)}, tmp_path / "model.safetensors")
    index = WeightIndex(tmp_path)
    assert [*index] == ["w"]
    assert (index.stored["w"].shape, index.stored["w"].dtype) == ((2, 3), torch.float32)
    assert index.tensor("w").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_shards_are_one_index(tmp_path: Path) -> None:
    shards(tmp_path, {"a.safetensors": {"x": torch.ones(1)}, "b.safetensors": {"y": torch.zeros(2)}})
    index = WeightIndex(tmp_path)
    assert {name: tensor.tolist() for name, tensor in index.tensors(["y", "x"])} == {"y": [0, 0], "x": [1]}
    assert len(index) == 2


def test_tensors_that_the_index_forgot_are_there_too(tmp_path: Path) -> None:
    both = {"x": torch.ones(1), "y": torch.ones(1)}
    shards(tmp_path, {"a.safetensors": both}, weight_map={"x": "a.safetensors"})
    assert "y" in WeightIndex(tmp_path)


def test_a_shard_without_a_tensor_of_the_index_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, {"a.safetensors": {"x": torch.ones(1)}}, weight_map={"z": "a.safetensors"})
    with pytest.raises(ValueError, match="does not hold 'z'"):
        WeightIndex(tmp_path)


def test_a_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    same = {"x": torch.ones(1)}
    shards(tmp_path, {"a.safetensors": {**same, "y": torch.ones(1)}, "b.safetensors": same}, {"y": "a.safetensors"})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"y": "a.safetensors", "x": "b.safetensors"}}))
    with pytest.raises(ValueError, match=r"holds 'x', which a\.safetensors holds too"):
        WeightIndex(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"x": 1}}])
def test_an_index_of_another_form_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / INDEX).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected an object with a 'weight_map'"):
        WeightIndex(tmp_path)


def test_one_file_comes_before_an_index(tmp_path: Path) -> None:
    shards(tmp_path, {"a.safetensors": {"x": torch.ones(1)}})
    save_file({"whole": torch.ones(1)}, tmp_path / "model.safetensors")
    assert [*WeightIndex(tmp_path)] == ["whole"]


def test_pickled_weights_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([1.5])}, tmp_path / "pytorch_model.bin")
    index = WeightIndex(tmp_path)
    assert index.stored["w"].shape == (1,)
    assert index["w"].tolist() == [1.5]


def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"has no weights: expected model\.safetensors .*It holds: notes\.txt"):
        WeightIndex(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("target_dtype", [torch.float32, torch.float64])
def test_a_target_keeps_its_dtype(tmp_path: Path, dtype: torch.dtype, target_dtype: torch.dtype) -> None:
    save_file({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype)}, tmp_path / "model.safetensors")
    target = torch.zeros(2, 2, dtype=target_dtype)
    WeightIndex(tmp_path).read_into("w", target)
    assert target.dtype is target_dtype
    assert target.tolist() == [[1, 2], [3, 4]]


def test_a_target_with_strides_is_filled(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, tmp_path / "model.safetensors")
    target = torch.zeros(2, 2).t()
    WeightIndex(tmp_path).read_into("w", target)
    assert target.tolist() == [[1, 2], [3, 4]]


def test_a_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert read_config(tmp_path) == {"model_type": "bert"}


def test_a_folder_without_a_config_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json.*It holds: nothing"):
        read_config(tmp_path)


def test_a_config_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"expected a JSON object, found \[1\]"):
        read_config(tmp_path)


@pytest.mark.parametrize("read", [read_config, WeightIndex])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read(tmp_path / "nowhere")


def test_long_lists_are_cut() -> None:
    assert some(["a", "b"], limit=2) == "a, b"
    assert some(["a", "b", "c", "d"], limit=2) == "a, b, and 2 more"
