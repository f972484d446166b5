"""Which checkpoints are whole, which one to go on from, which to remove."""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer.checkpoint.find import get_last_checkpoint, list_checkpoints, newest_valid, rotate, step_of, verify
from lt_trainer.checkpoint.format import read_checkpoint
from tests.checkpoint.states import save

if TYPE_CHECKING:
    from pathlib import Path

FILES = ["model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
FILES += ["trainer_state.json", "lt_trainer.json", "manifest.json"]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


# --- listing ----------------------------------------------------------------------------------------------------------


def test_checkpoints_are_ordered_by_step_and_not_by_name_or_time(tmp_path: Path) -> None:
    for step in (10, 9, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    os.utime(tmp_path / "checkpoint-9", (2**31, 2**31))
    for other in ("checkpoint-x", "checkpoint-5-best", ".tmp-checkpoint-200.00000000.1.1.0", "best"):
        (tmp_path / other).mkdir()
    (tmp_path / "checkpoint-300").write_text("a file")
    assert names(list_checkpoints(tmp_path)) == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]


def test_a_missing_folder_has_no_checkpoints(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "absent") == []


def test_step_of_refuses_other_names() -> None:
    assert step_of("runs/checkpoint-12") == 12
    with pytest.raises(ValueError, match="'runs/best': expected a folder named checkpoint-<step>: give it such a name"):
        step_of("runs/best")


# --- verification -----------------------------------------------------------------------------------------------------


def test_a_whole_checkpoint_verifies(tmp_path: Path) -> None:
    assert verify(save(tmp_path, 1)) is None
    assert verify(save(tmp_path, 2, ranks=3)) is None


def test_further_files_do_not_matter(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / "README.md").write_text("a callback put it here")
    assert verify(folder) is None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path, 1)
    (folder / name).unlink()
    reason = verify(folder)
    assert reason is not None
    assert name in reason
    assert "missing" in reason


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_in_half_is_named(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path, 1)
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    reason = verify(folder)
    assert reason is not None
    assert name in reason


def test_a_changed_byte_anywhere_never_verifies(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    draw = random.Random(0)
    for _ in range(1000):
        path = newer / draw.choice(FILES)
        data = bytearray(whole := path.read_bytes())
        place = draw.randrange(len(data))
        data[place] = draw.choice([byte for byte in range(256) if byte != data[place]])
        path.write_bytes(data)
        reason = verify(newer)
        assert reason is not None, (path, place, data[place])
        assert path.name in reason or path.name == "manifest.json"
        path.write_bytes(whole)
    path.write_bytes(data)
    found, ((skipped, reason),) = newest_valid(tmp_path)
    assert (found, skipped) == (older, newer)
    assert path.name in reason


def test_a_side_file_without_manifest_does_not_verify(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / "manifest.json").unlink()
    assert verify(folder) == "manifest.json is missing beside lt_trainer.json: not all of this folder is here"


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {},
        {"version": 1},
        {"version": 1, "files": []},
        {"version": 1, "files": {"a": 1}},
        {"version": 1, "files": {}},
        {"version": 1, "files": {"../../secret": {"size": 1, "sha256": ""}}},
    ],
)
def test_a_manifest_of_another_form_does_not_verify(tmp_path: Path, manifest: Any) -> None:
    folder = save(tmp_path, 1)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    assert "manifest.json" in str(verify(folder))


def test_a_manifest_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    shutil.move(folder / "config.json", tmp_path / "config.json")
    (folder / "config.json").symlink_to("../config.json")
    assert "outside" in str(verify(folder))


def test_what_is_no_folder_does_not_verify(tmp_path: Path) -> None:
    assert verify(tmp_path / "absent") == f"{tmp_path / 'absent'} is not a folder"
    assert "trainer_state.json is missing" in str(verify(tmp_path))


# --- the newest -------------------------------------------------------------------------------------------------------


def test_the_newest_whole_one_is_found_and_the_others_told(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step)
    (tmp_path / "checkpoint-15" / "optimizer.pt").unlink()
    found, passed_over = newest_valid(tmp_path)
    assert found.name == "checkpoint-10"
    assert [(path.name, reason) for path, reason in passed_over] == [
        ("checkpoint-15", f"{tmp_path / 'checkpoint-15' / 'optimizer.pt'} is missing. Fetch or save it again.")
    ]
    assert read_checkpoint(found).trainer_state["global_step"] == 10


def test_a_save_of_the_model_alone_is_not_resumed_from(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10, only_model=True)
    found, ((_, reason),) = newest_valid(tmp_path)
    assert found.name == "checkpoint-5"
    assert "save_only_model=True" in reason
    assert newest_valid(tmp_path, resumable=False)[0].name == "checkpoint-10"


def test_nothing_to_go_on_from_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found an empty folder"):
        newest_valid(tmp_path)
    (tmp_path / "best").mkdir()
    with pytest.raises(FileNotFoundError, match=r"found best\."):
        newest_valid(tmp_path)
    (save(tmp_path, 5) / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoint-5: .*config\.json is missing"):
        newest_valid(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        newest_valid(tmp_path / "absent")


# --- rotation ---------------------------------------------------------------------------------------------------------


def make(tmp_path: Path, *steps: int) -> dict[int, Path]:
    folders = {step: tmp_path / f"checkpoint-{step}" for step in steps}
    for folder in folders.values():
        folder.mkdir()
    return folders


@pytest.mark.parametrize(
    ("limit", "keep", "left"),
    [
        (None, [4], [1, 2, 3, 4]),
        (0, [4], [1, 2, 3, 4]),
        (5, [4], [1, 2, 3, 4]),
        (2, [4], [3, 4]),
        (2, [4, 1], [1, 4]),  # the best one takes a place
        (1, [4, 1], [1, 4]),  # and stays where the limit is too small for both
        (1, [2], [2]),  # the one just saved, where a run went back behind damaged ones
    ],
)
def test_rotation_removes_the_lowest_steps(tmp_path: Path, limit: int | None, keep: list[int], left: list[int]) -> None:
    folders = make(tmp_path, 1, 2, 3, 4)
    removed = rotate(tmp_path, limit, {folders[step] for step in keep})
    assert [step_of(path) for path in list_checkpoints(tmp_path)] == left
    assert [step_of(path) for path in removed] == [step for step in folders if step not in left]


# --- checkpoints of transformers --------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder as `transformers` writes it: no side file, no manifest, numpy objects in rng_state.pth."""
    folder = save(tmp_path, 3)
    (folder / "manifest.json").unlink()
    (folder / "lt_trainer.json").unlink()
    import numpy as np

    torch.save({"numpy": np.random.get_state()}, folder / "rng_state.pth")
    return folder


def test_a_foreign_folder_verifies_when_its_files_parse(foreign: Path) -> None:
    assert verify(foreign) is None
    assert newest_valid(foreign.parent)[0] == foreign


def test_the_generators_of_a_foreign_folder_are_left_out_and_that_is_said(foreign: Path) -> None:
    state = read_checkpoint(foreign)
    assert state.rng == []
    assert state.side == {}
    (note,) = state.notes
    assert note.startswith("The random generators start anew")


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "optimizer.pt", "scheduler.pt"])
def test_a_foreign_folder_that_lacks_a_file_names_it(foreign: Path, name: str) -> None:
    (foreign / name).unlink()
    assert name in str(verify(foreign))


@pytest.mark.parametrize("name", [name for name in FILES[:-2] if name != "tokenizer.json"])
def test_a_foreign_file_cut_in_half_is_named(foreign: Path, name: str) -> None:
    os.truncate(foreign / name, (foreign / name).stat().st_size // 2)
    assert name in str(verify(foreign))


def test_a_foreign_state_without_a_step_does_not_verify(foreign: Path) -> None:
    (foreign / "trainer_state.json").write_text('{"global_step": "3"}')
    assert verify(foreign) == "trainer_state.json has no global_step"


def test_scripts_are_told_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert get_last_checkpoint(tmp_path / "nowhere") is None
    assert get_last_checkpoint(tmp_path) is None
    for step in (9, 10, 100):
        save(tmp_path, step)
    (tmp_path / "checkpoint-100" / "model.safetensors").write_bytes(b"cut off")
    assert get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
