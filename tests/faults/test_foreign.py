"""Folders from a stranger: no code of theirs runs, nothing hangs, every refusal names the file."""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch

from lt_trainer.checkpoint.find import newest_valid, verify
from lt_trainer.checkpoint.format import read_checkpoint
from lt_trainer.models.weights import WeightIndex, read_config
from tests.checkpoint.states import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ = ["model.safetensors", "config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
FILES = [*READ, "lt_trainer.json", "manifest.json", "tokenizer.json"]


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def raw_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Harm(mark)))


def torch_zip(path: Path, mark: Path) -> None:
    torch.save({"state": Harm(mark)}, path)


def torch_legacy(path: Path, mark: Path) -> None:
    torch.save({"state": Harm(mark)}, path, _use_new_zipfile_serialization=False)


def plain_zip(path: Path, mark: Path) -> None:
    with zipfile.ZipFile(path, "w") as container:
        container.writestr("data.pkl", pickle.dumps(Harm(mark)))


def torchscript_zip(path: Path, mark: Path) -> None:
    with zipfile.ZipFile(path, "w") as container:
        for name in ("constants.pkl", "data.pkl"):
            container.writestr(f"archive/{name}", pickle.dumps(Harm(mark)))
        container.writestr("archive/version", "3")


HARMFUL = [raw_pickle, torch_zip, torch_legacy, plain_zip, torchscript_zip]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder without side file and manifest, which only parsing can judge."""
    folder = save(tmp_path / "run", 3)
    (folder / "manifest.json").unlink()
    (folder / "lt_trainer.json").unlink()
    return folder


def test_the_harmful_file_would_do_harm(tmp_path: Path, mark: Path) -> None:
    raw_pickle(tmp_path / "x", mark)
    pickle.loads((tmp_path / "x").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("harm", HARMFUL)
@pytest.mark.parametrize("name", FILES)
def test_a_harmful_file_in_a_checkpoint_of_ours_is_passed_over(
    tmp_path: Path, mark: Path, name: str, harm: Callable[[Path, Path], None]
) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    harm(newer / name, mark)
    found, ((_, reason),) = newest_valid(tmp_path)
    assert found == older
    assert name in reason
    assert not mark.exists()


@pytest.mark.parametrize("harm", HARMFUL)
@pytest.mark.parametrize("name", READ)
def test_a_harmful_file_in_a_foreign_checkpoint_is_refused(
    foreign: Path, mark: Path, name: str, harm: Callable[[Path, Path], None]
) -> None:
    harm(foreign / name, mark)
    if name == "rng_state.pth":  # theirs never loads strictly: it is left out, and that is said
        assert name in read_checkpoint(foreign).notes[0]
    else:
        assert name in str(verify(foreign))
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            read_checkpoint(foreign)
    assert not mark.exists()


@pytest.mark.parametrize("harm", HARMFUL)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json"])
def test_a_harmful_file_for_weights_is_refused(
    tmp_path: Path, mark: Path, name: str, harm: Callable[[Path, Path], None]
) -> None:
    harm(tmp_path / name, mark)
    with pytest.raises(ValueError, match=name):
        WeightIndex(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("size", [0, 0.5])
@pytest.mark.parametrize("name", READ)
def test_a_foreign_file_that_is_cut_is_named_when_it_is_read(foreign: Path, name: str, size: float) -> None:
    os.truncate(foreign / name, int((foreign / name).stat().st_size * size))
    if name == "rng_state.pth":
        assert name in read_checkpoint(foreign).notes[0]
        assert name in str(verify(foreign))
        return
    with pytest.raises(ValueError, match=name):
        read_checkpoint(foreign)


def test_an_endless_file_is_refused_at_once(foreign: Path) -> None:
    began = time.monotonic()
    for name in READ:
        (foreign / name).unlink()
        (foreign / name).symlink_to("/dev/zero")
        assert name in str(verify(foreign)) or READ.index(name) > 0
        with pytest.raises(ValueError, match="outside"):
            read_checkpoint(foreign)
    assert time.monotonic() - began < 2


def test_a_config_nested_without_end_is_refused_at_once(foreign: Path) -> None:
    began = time.monotonic()
    (foreign / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json is nested too deep"):
        read_config(foreign)
    assert "config.json" in str(verify(foreign))
    assert time.monotonic() - began < 2
