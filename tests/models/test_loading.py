"""Model folders: headers first, then values; whatever a stranger wrote is bounded and named."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from lt_trainer.files import AtomicFolder
from lt_trainer.models.loading import WeightIndex, check_against, load_into, read_config
from tests.support import write_bert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Tied(nn.Module):
    """Two names for one parameter, a buffer, and layers."""

    def __init__(self, num_layers: int = 2, rows: int = 5) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.embed = nn.Embedding(rows, 4)
        self.body.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(num_layers))
        self.body.register_buffer("scale", torch.zeros(2, dtype=torch.int64))
        self.head = nn.Linear(4, rows)
        self.head.weight = self.body.embed.weight


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def write(folder: Path, tensors: dict[str, torch.Tensor], *, max_shard_bytes: int = 10**9) -> WeightIndex:
    with AtomicFolder(folder) as writer:
        writer.write_weights(tensors, max_shard_bytes)
    return WeightIndex(folder)


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state under one name for each tensor, with values that differ."""
    state = {name: torch.rand(tensor.shape) for name, tensor in model.state_dict().items() if name != "head.weight"}
    state["body.scale"] = torch.tensor([3, 4])
    return state


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_shard_bytes", [10**9, 100])
def test_every_loaded_tensor_equals_the_files(tmp_path: Path, max_shard_bytes: int) -> None:
    model = Tied()
    expected = values(model)
    index = write(tmp_path / "x", expected, max_shard_bytes=max_shard_bytes)
    report = load_into(model, index)
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    for name, tensor in expected.items():
        assert model.state_dict()[name].equal(tensor)
        assert index.tensor(name).equal(tensor)
    assert dict(index.tensors(["body.scale"]))["body.scale"].tolist() == [3, 4]


def test_tied_weights_stay_tied_whichever_name_is_stored(tmp_path: Path) -> None:
    expected = values(Tied())
    expected["head.weight"] = expected.pop("body.embed.weight")
    model = Tied()
    report = load_into(model, write(tmp_path / "x", expected))
    assert report.missing == ()
    assert model.head.weight is model.body.embed.weight
    assert model.body.embed.weight.equal(expected["head.weight"])


def test_values_take_the_models_dtype(tmp_path: Path) -> None:
    model = Tied()
    halves = {
        name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in values(model).items()
    }
    load_into(model, write(tmp_path / "x", halves))
    assert model.head.weight.dtype == torch.float32
    assert model.body.layers[1].bias.equal(halves["body.layers.1.bias"].float())
    assert model.head.weight.requires_grad


def test_parameters_with_strides_are_filled(tmp_path: Path) -> None:
    model = nn.Linear(3, 2, bias=False)
    model.weight = nn.Parameter(torch.zeros(3, 2).t())
    load_into(model, write(tmp_path / "x", {"weight": torch.arange(6.0).reshape(2, 3)}))
    assert model.weight.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_folder_with_pickled_weights_alone_is_read_strictly(tmp_path: Path) -> None:
    model = Tied()
    expected = values(model)
    torch.save(expected, tmp_path / "pytorch_model.bin")
    load_into(model, WeightIndex(tmp_path))
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in expected.items())


def test_safetensors_come_before_pickled_weights(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_weights({"a": torch.ones(1)})
        folder.copy_in(tmp_path / "pytorch_model.bin", "pytorch_model.bin")
    assert WeightIndex(tmp_path / "x")["a"].item() == 1


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_bare_body_fits_a_model_with_a_head(tmp_path: Path) -> None:
    stored = {name.removeprefix("body."): value for name, value in values(Tied()).items() if name.startswith("body.")}
    model = Tied()
    report = load_into(model, write(tmp_path / "x", stored), prefix="body")
    assert report.missing == ("head.bias",)
    assert report.unexpected == ()
    assert model.body.layers[0].weight.equal(stored["layers.0.weight"])


def test_a_model_with_a_head_gives_its_body(tmp_path: Path) -> None:
    expected = values(Tied())
    body = Tied().body
    report = load_into(body, write(tmp_path / "x", expected), prefix="body")
    assert report.missing == ()
    assert report.unexpected == ("head.bias",)
    assert body.layers[0].weight.equal(expected["body.layers.0.weight"])


def test_names_that_tensorflow_left_are_understood(tmp_path: Path) -> None:
    index = write(tmp_path / "x", {"bert.LayerNorm.gamma": torch.ones(2), "bert.LayerNorm.beta": torch.zeros(2)})
    report = check_against(index, {"bert.LayerNorm.weight": (2,), "bert.LayerNorm.bias": (2,)})
    assert report.sources == {
        "bert.LayerNorm.weight": "bert.LayerNorm.gamma",
        "bert.LayerNorm.bias": "bert.LayerNorm.beta",
    }


def test_stored_names_that_nobody_needs_can_be_left_out_of_the_report(tmp_path: Path) -> None:
    index = write(tmp_path / "x", {"a": torch.ones(2), "b.position_ids": torch.ones(2), "c": torch.ones(2)})
    assert check_against(index, {"a": [2]}, ignored=[r"position_ids$"]).unexpected == ("c",)


# --- models that the weights do not fit -------------------------------------------------------------------------------


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    index = write(tmp_path / "x", {"wte.weight": torch.ones(1)})
    with pytest.raises(
        ValueError, match=r"No weight in .*x fits.* wants body\.scale, body\.embed\.weight, .*holds wte\.weight\."
    ):
        load_into(Tied(), index)


def test_more_layers_than_the_file_holds_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    index = write(tmp_path / "x", values(Tied()))
    with torch.device("meta"):
        large = Tied(num_layers=4)
    report = check_against(index, shapes_of(large))
    with pytest.raises(ValueError, match=r"config\.json .*do not hold: body\.layers\.2, body\.layers\.3\."):
        report.require_usable(index.folder)


def test_more_rows_than_the_file_holds_are_refused_and_the_model_untouched(tmp_path: Path) -> None:
    index = write(tmp_path / "x", values(Tied()))
    model = Tied(rows=6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"body\.embed\.weight is \(5, 4\) in the file and \(6, 4\) here.*ignore_mismatched"
    ):
        load_into(model, index)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    report = load_into(model, index, ignore_mismatched_sizes=True)
    assert report.mismatched == (("body.embed.weight", (5, 4), (6, 4)), ("head.bias", (5,), (6,)))
    assert model.body.embed.weight.equal(before["body.embed.weight"])
    assert not model.body.layers[0].weight.equal(before["body.layers.0.weight"])


# --- folders and configs ----------------------------------------------------------------------------------------------


def test_a_missing_folder_or_file_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent is not a folder"):
        read_config(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"absent is not a folder"):
        WeightIndex(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"has no config\.json.*It holds: nothing\."):
        read_config(tmp_path)
    (tmp_path / "tf_model.h5").write_text("")
    with pytest.raises(
        FileNotFoundError, match=r"has no weights: expected model\.safetensors or .*It holds: tf_model\.h5"
    ):
        WeightIndex(tmp_path)


@pytest.mark.parametrize("content", ["[]", "", "{", "null", '{"a":' * 100_000])
def test_a_bad_config_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(tmp_path)


# --- hostile files ----------------------------------------------------------------------------------------------------


def raw(header: Any, values: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + values


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes and claims a header of 0"),
        (b"\x01\0\0", "has 3 bytes"),
        (raw({}, length=2**63), "claims a header of 9223372036854775808"),
        (raw({"a": entry()}, b"\0" * 3), "describes 4 bytes of values and the file holds 3"),
        (raw({"a": entry()}, b"\0" * 5), "describes 4 bytes of values and the file holds 5"),
        (raw({"a": entry(shape=[10**15], offsets=[0, 4 * 10**15])}, b"\0" * 4), "describes 4000000000000000 bytes"),
        (raw({"a": entry(shape=[10**15])}, b"\0" * 4), r"shape \(1000000000000000,\).* cannot lie in 4 bytes"),
        (raw({"a": entry(shape=[10**30, 0], offsets=[0, 0])}), "'a' is .*which no tensor has"),
        (raw({"a": entry(shape=[1] * 65)}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(shape=[-1])}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(shape=[True])}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(shape=[1.0])}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(shape=1)}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(dtype="F33")}, b"\0" * 4), "F33.*which no tensor has"),
        (raw({"a": entry(dtype=["F32"])}, b"\0" * 4), "which no tensor has"),
        (raw({"a": entry(offsets=[4, 0])}, b"\0" * 4), "cannot lie in -4 bytes"),
        (raw({"a": entry(offsets=[0, 4, 8])}, b"\0" * 4), "which no tensor has"),
        (raw({"a": 1}), "which no tensor has"),
        (raw({"a": entry(), "b": entry()}, b"\0" * 4), "'b' begins at byte 0 of the values, expected 4"),
        (raw({"a": entry(offsets=[4, 8])}, b"\0" * 8), "'a' begins at byte 4 of the values, expected 0"),
        (raw(b'{"a": 1, "a": 2}'), "a name stands twice"),
        (raw(b"[]"), "expected an object as header, found list"),
        (raw(b"{"), "the header is not JSON"),
        (raw(b"\xff\xfe"), "the header is not JSON"),
        (raw(b"[" * 100_000), "the header is not JSON"),
        (raw(b'{"a": ' + b"1" * 5000 + b"}"), "the header is not JSON"),
    ],
)
def test_a_header_that_the_file_cannot_hold_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.safetensors.*{message}"):
        WeightIndex(tmp_path)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    index = write(tmp_path / "x", {"a": torch.ones(10)})
    os.truncate(tmp_path / "x" / "model.safetensors", 100)
    with pytest.raises(ValueError, match=r"model\.safetensors ended inside a tensor"):
        index.tensor("a")


@pytest.mark.parametrize(
    "file", ["../secret.safetensors", "/etc/passwd", "a/../../secret.safetensors", "", "..\\secret"]
)
def test_an_index_does_not_lead_out_of_the_folder(tmp_path: Path, file: str) -> None:
    write(tmp_path / "secret", {"a": torch.ones(1)})
    (tmp_path / "secret" / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(ValueError, match="stays inside this folder"):
        WeightIndex(tmp_path / "x")


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "config.json"])
def test_links_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).symlink_to("../secret")
    with pytest.raises(ValueError, match=rf"{name} is a link to .*outside"):
        (read_config if name == "config.json" else WeightIndex)(tmp_path / "x")


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([], ValueError, "expected an object with a 'weight_map'"),
        ({"weight_map": {}}, ValueError, "expected an object with a 'weight_map'"),
        ({"weight_map": {"a": 1}}, ValueError, "expected an object with a 'weight_map'"),
        ({"weight_map": {"a": "absent.safetensors"}}, FileNotFoundError, r"absent\.safetensors is missing"),
        ({"weight_map": {"b": "one.safetensors"}}, ValueError, r"one\.safetensors does not hold 'b'"),
        ({"weight_map": {"a": "one.safetensors", "": "two.safetensors"}}, ValueError, "does not hold ''"),
        (
            {"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}},
            ValueError,
            "which one.safetensors holds too",
        ),
    ],
)
def test_an_index_agrees_with_its_shards(tmp_path: Path, index: Any, error: type[Exception], message: str) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_safetensors("one.safetensors", {"a": torch.ones(1)})
        folder.write_safetensors("two.safetensors", {"a": torch.ones(1), "c": torch.ones(1)})
        folder.write_json("model.safetensors.index.json", index)
    with pytest.raises(error, match=message):
        WeightIndex(tmp_path / "x")


@pytest.mark.parametrize("value", [[torch.ones(1)], {"a": 1}, {"a": {"b": torch.ones(1)}}])
def test_pickled_weights_are_a_dictionary_of_tensors(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: expected a dictionary of tensors"):
        WeightIndex(tmp_path)


# --- beside transformers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
def test_folders_of_transformers_are_read(tmp_path: Path, max_shard_size: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**json.loads((write_bert(tmp_path / "tiny") / "config.json").read_text()))
    theirs = transformers.BertForMaskedLM(config)
    theirs.save_pretrained(tmp_path / "x", max_shard_size=max_shard_size)
    assert (tmp_path / "x" / "model.safetensors").exists() == (max_shard_size == "5GB")
    ours = transformers.BertForMaskedLM(config)
    assert read_config(tmp_path / "x")["hidden_size"] == config.hidden_size
    report = load_into(ours, WeightIndex(tmp_path / "x"), prefix="bert")
    assert (report.missing, report.unexpected) == ((), ())
    expected = theirs.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("max_shard_bytes", [10**9, 20_000])
def test_transformers_reads_our_folders(tmp_path: Path, tiny_bert: Callable[..., Path], max_shard_bytes: int) -> None:
    transformers = pytest.importorskip("transformers")
    ours = transformers.BertModel(transformers.BertConfig.from_pretrained(tiny_bert()))
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_weights(ours.state_dict(), max_shard_bytes)
        folder.write_json("config.json", ours.config.to_dict())
    theirs, report = transformers.BertModel.from_pretrained(tmp_path / "x", output_loading_info=True)
    assert not any(report.values())
    expected = ours.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in theirs.state_dict().items())
