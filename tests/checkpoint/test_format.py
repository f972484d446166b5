"""The checkpoint folder: what goes in comes out, and `transformers` reads it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lt_trainer.checkpoint.format import CheckpointState, read_checkpoint, write_checkpoint
from lt_trainer.checkpoint.rng import rng_state, set_rng_state
from lt_trainer.files import AtomicFolder
from tests.checkpoint.states import save, state_at

if TYPE_CHECKING:
    from pathlib import Path


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    state = state_at(7)
    with AtomicFolder(tmp_path / "checkpoint-7") as folder:
        write_checkpoint(folder, state)
    found = read_checkpoint(tmp_path / "checkpoint-7")
    assert {name: tensor.tolist() for name, tensor in found.model_state.items()} == {
        name: tensor.tolist() for name, tensor in state.model_state.items()
    }
    assert found.trainer_state == state.trainer_state
    assert found.config == state.config
    assert found.scheduler == state.scheduler
    assert found.side == state.side
    assert found.notes == []
    assert state.optimizer is not None
    assert found.optimizer is not None
    assert found.optimizer["param_groups"] == state.optimizer["param_groups"]
    assert found.optimizer["state"][1]["exp_avg"].equal(state.optimizer["state"][1]["exp_avg"])
    assert found.rng[0]["cpu"].tolist() == list(range(8))


def test_the_files_have_the_names_of_transformers(tmp_path: Path) -> None:
    single, several = save(tmp_path, 1), save(tmp_path, 2, ranks=2)
    common = {"model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "scheduler.pt"}
    common |= {"trainer_state.json", "lt_trainer.json", "manifest.json"}
    assert {path.name for path in single.iterdir()} == common | {"rng_state.pth"}
    assert {path.name for path in several.iterdir()} == common | {"rng_state_0.pth", "rng_state_1.pth"}
    assert len(read_checkpoint(several).rng) == 2


def test_every_file_of_torch_loads_strictly(tmp_path: Path) -> None:
    for path in save(tmp_path, 1).glob("*.pt*"):
        torch.load(path, weights_only=True)


def test_a_side_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / "lt_trainer.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(ValueError, match=r"lt_trainer\.json: another format"):
        read_checkpoint(folder)


def test_weights_are_sharded_when_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        names = folder.write_weights(state_at(1).model_state, max_shard_bytes=48)
    assert names == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "x" / names[-1]).read_text())
    assert index == {
        "metadata": {"total_size": 60},
        "weight_map": {"layer.weight": names[0], "layer.bias": names[1]},
    }


def draw() -> list[float]:
    return [
        random.random(),
        float(np.random.rand()),
        float(np.random.randn()),
        float(torch.rand(())),
        random.gauss(0, 1),
    ]


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    draw()  # leaves a cached normal number in numpy and python
    with AtomicFolder(tmp_path / "x") as folder:
        write_checkpoint(folder, CheckpointState({}, {"global_step": 1}, rng=[rng_state()]))
    expected = draw()
    draw()
    set_rng_state(read_checkpoint(tmp_path / "x").rng[0])
    assert draw() == expected


@pytest.mark.parametrize(("key", "value"), [("python", 1), ("numpy", ("MT19937", [1], 0, 0, 0.0)), ("cpu", [1])])
def test_a_state_of_another_form_is_refused(key: str, value: object) -> None:
    state = {**rng_state(), key: value}
    with pytest.raises(ValueError, match=r"no state of random generators"):
        set_rng_state(state)
