"""Folders that appear whole or not at all, and files that join a folder."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
import torch

from lt_trainer import files
from lt_trainer.files.ops import OPS

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


# --- atomic folders ---------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole_with_a_manifest(tmp_path: Path) -> None:
    final = tmp_path / "run" / "checkpoint-1"
    with files.AtomicFolder(final) as folder:
        folder.write_bytes("a.bin", b"abc")
        folder.write_json("sub/b.json", {"x": 1})
        assert not final.exists()
    assert names(final) == ["a.bin", "manifest.json", "sub"]
    assert names(final.parent) == ["checkpoint-1"]
    manifest = json.loads((final / "manifest.json").read_text())
    # sha256("abc") is the first example of FIPS 180-2
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["files"]["a.bin"] == {"size": 3, "sha256": digest}
    assert manifest["files"]["sub/b.json"]["size"] == (final / "sub/b.json").stat().st_size


def test_a_failure_leaves_nothing_and_the_old_folder_untouched(tmp_path: Path) -> None:
    final = tmp_path / "best"
    with files.AtomicFolder(final) as folder:
        folder.write_text("a", "old")
    with pytest.raises(RuntimeError, match="stop"), files.AtomicFolder(final) as folder:  # noqa: PT012
        folder.write_text("a", "new")
        raise RuntimeError("stop")
    assert names(tmp_path) == ["best"]
    assert (final / "a").read_text() == "old"


def test_an_existing_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    final = tmp_path / "best"
    for name in ("old", "new"):
        with files.AtomicFolder(final) as folder:
            folder.write_text(name, name)
    assert names(final) == ["manifest.json", "new"]
    assert names(tmp_path) == ["best"]


def test_a_file_in_the_place_of_the_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "best").write_text("mine")
    with pytest.raises(NotADirectoryError, match="best"), files.AtomicFolder(tmp_path / "best"):
        pass
    assert (tmp_path / "best").read_text() == "mine"


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", ".", "a\\b", "a\0b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="stays inside"), files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_text(name, "")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "manifest.json"])
def test_a_name_is_written_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="written once"), files.AtomicFolder(tmp_path / "x") as folder:  # noqa: PT012
        folder.write_text("a", "")
        folder.write_text(name, "")


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, file_mode: int, folder_mode: int) -> None:
    before = os.umask(umask)
    try:
        with files.AtomicFolder(tmp_path / "x") as folder:
            folder.write_safetensors("m.safetensors", {"w": torch.ones(1)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x" / "m.safetensors").stat().st_mode) == file_mode
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == folder_mode


def test_copy_in_copies_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"abc")
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.copy_in(tmp_path / "source", "copy")
    assert folder.written["copy"] == (3, files.sha256_of(tmp_path / "x" / "copy"))


def test_errors_of_the_system_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OPS, "write", full)
    with (
        pytest.raises(OSError, match=r"No space left.*model\.safetensors"),
        files.AtomicFolder(tmp_path / "x") as folder,
    ):
        folder.write_safetensors("model.safetensors", {"w": torch.ones(1)})
    assert names(tmp_path) == []


def test_the_cause_survives_torch_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OPS, "write", full)
    with pytest.raises(OSError, match=r"No space left.*o\.pt"), files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_torch("o.pt", {"a": torch.ones(5)})


# --- top-level files --------------------------------------------------------------------------------------------------


def test_update_folder_leaves_other_content_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "config.json").write_text("old")
    with files.update_folder(tmp_path) as top:
        top.write_text("config.json", "new")
        top.write_text("a/b", "c")
        assert (tmp_path / "config.json").read_text() == "old"
    assert names(tmp_path) == ["a", "checkpoint-1", "config.json"]
    assert (tmp_path / "config.json").read_text() == "new"


def test_update_folder_removes_what_is_obsolete(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("old")
    with files.update_folder(tmp_path) as top:
        top.write_text("config.json", "new")
        top.remove("model.safetensors")
        top.remove("never-there")
    assert names(tmp_path) == ["config.json"]


@pytest.mark.parametrize(("before", "after"), [(4, 100), (100, 4), (8, 4)])
def test_weights_of_an_earlier_save_do_not_stay_beside_new_ones(tmp_path: Path, before: int, after: int) -> None:
    (tmp_path / "model-of-mine.safetensors").write_text("mine")
    for value, max_shard_bytes in enumerate((before, after)):
        with files.update_folder(tmp_path) as top:
            written = top.write_weights({name: torch.full((1,), float(value)) for name in "abc"}, max_shard_bytes)
    assert names(tmp_path) == sorted([*written, "model-of-mine.safetensors"])


def test_a_failed_update_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(RuntimeError), files.update_folder(tmp_path) as top:  # noqa: PT012
        top.write_text("config.json", "new")
        raise RuntimeError
    assert names(tmp_path) == ["config.json"]
    assert (tmp_path / "config.json").read_text() == "old"
