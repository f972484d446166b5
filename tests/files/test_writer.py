"""What a staging folder's writer leaves: the bytes, their hashes, and nothing where a write fails."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lt_trainer.files import AtomicFolder, manifest_bytes
from lt_trainer.files.ops import OPS
from lt_trainer.files.writer import HashedFile


@pytest.fixture
def file(tmp_path: Path) -> Any:
    opened = HashedFile(tmp_path / "file")
    yield opened
    opened.close()


def stop() -> None:
    raise RuntimeError("stop")


def full_disk(descriptor: int, data: memoryview) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- one file ---------------------------------------------------------------------------------------------------------


def test_size_and_hash_are_those_of_all_that_was_written(file: HashedFile) -> None:
    assert file.write(b"abc") == 3
    assert file.write(memoryview(b"de")) == 2
    assert (file.size, file.digest) == (5, hashlib.sha256(b"abcde").hexdigest())
    assert file.path.read_bytes() == b"abcde"


def test_a_system_that_takes_few_bytes_at_a_time_gets_them_all(
    file: HashedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OPS.write
    monkeypatch.setattr(OPS, "write", lambda descriptor, data: whole(descriptor, data[:2]))
    file.write(b"abcde")
    assert file.path.read_bytes() == b"abcde"


def test_a_system_that_takes_no_more_is_an_error(file: HashedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match="took no more bytes"):
        file.write(b"a")


def test_numbers_are_counted_in_bytes(file: HashedFile) -> None:
    assert file.write(memoryview(bytearray(12)).cast("i")) == 12
    assert file.size == 12


def test_a_file_that_is_there_is_not_written_over(file: HashedFile) -> None:
    with pytest.raises(FileExistsError):
        HashedFile(file.path)


# --- a folder of files ------------------------------------------------------------------------------------------------


def test_the_manifest_has_one_spelling() -> None:
    text = manifest_bytes({"b": (2, "ff"), "a": (1, "00")}).decode()
    assert json.loads(text) == {
        "version": 1,
        "files": {"a": {"size": 1, "sha256": "00"}, "b": {"size": 2, "sha256": "ff"}},
    }
    assert text.index('"a"') < text.index('"b"')
    assert manifest_bytes({"a": (1, "00"), "b": (2, "ff")}).decode() == text


def test_what_was_written_is_known_by_size_and_hash(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_text("a/ü.txt", "ü")
    assert folder.written == {"a/ü.txt": (2, hashlib.sha256("ü".encode()).hexdigest())}
    assert (tmp_path / "x" / "a" / "ü.txt").read_text(encoding="utf-8") == "ü"


@pytest.mark.parametrize("name", ["a", "manifest.json"])
def test_a_name_is_written_once(tmp_path: Path, name: str) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_text("a", "first")
        with pytest.raises(ValueError, match=f"'{name}' is already in this folder"):
            folder.write_text(name, "second")
    assert (tmp_path / "x" / "a").read_text() == "first"


@pytest.mark.parametrize("name", ["../a", "/a", "", "a\\b"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with AtomicFolder(tmp_path / "x") as folder, pytest.raises(ValueError, match="stays inside this folder"):
        folder.write_text(name, "")


def test_json_keeps_its_order_and_its_letters(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_json("c.json", {"z": "ä", "a": [1]})
    text = (tmp_path / "x" / "c.json").read_text(encoding="utf-8")
    assert text == '{\n  "z": "ä",\n  "a": [\n    1\n  ]\n}\n'


def test_a_file_from_elsewhere_is_copied_in(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"\0\1")
    with AtomicFolder(tmp_path / "x") as folder:
        folder.copy_in(tmp_path / "source", "target")
    assert (tmp_path / "x" / "target").read_bytes() == b"\0\1"


def test_weights_that_fit_are_one_file(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        assert folder.write_weights({"a": torch.zeros(2)}) == ["model.safetensors"]


def test_weights_that_do_not_fit_are_shards_with_an_index(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(2.0), "b": torch.arange(3.0)}  # 8 and 12 bytes
    with AtomicFolder(tmp_path / "x") as folder:
        names = folder.write_weights(tensors, max_shard_bytes=12)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert names == [first, second, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "x" / names[-1]).read_text())
    assert index == {"metadata": {"total_size": 20}, "weight_map": {"a": first, "b": second}}
    assert safetensors.torch.load_file(tmp_path / "x" / second)["b"].tolist() == [0, 1, 2]


def test_a_file_that_fails_is_not_counted_as_written(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "x") as folder:
        with pytest.raises(RuntimeError, match="stop"), folder.open("a"):
            stop()
        assert folder.written == {}


@pytest.mark.parametrize("method", ["write_bytes", "write_torch"])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(OPS, "write", full_disk)
    with pytest.raises(OSError, match="No space left") as caught, AtomicFolder(tmp_path / "x") as folder:
        getattr(folder, method)("a.bin", b"value")
    assert caught.value.errno == errno.ENOSPC
    assert Path(caught.value.filename).name == "a.bin"


def test_nothing_is_left_of_a_folder_that_fails(tmp_path: Path) -> None:
    folder = AtomicFolder(tmp_path / "x")
    with pytest.raises(OSError, match="No such file"), folder:
        folder.copy_in(tmp_path / "nowhere", "a")
    assert [*tmp_path.iterdir()] == []


def test_a_staging_folder_that_cannot_be_removed_is_told_beside_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(OPS, "rmdir", refuse)
    with pytest.raises(RuntimeError, match="stop") as caught, AtomicFolder(tmp_path / "x"):
        stop()
    assert "could not be removed either" in caught.value.__notes__[0]


def test_every_file_is_synced_before_the_folder_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "fsync_folder", "rename"):
        whole = getattr(OPS, name)
        monkeypatch.setattr(OPS, name, lambda *args, name=name, whole=whole: (calls.append(name), whole(*args))[1])
    with AtomicFolder(tmp_path / "x") as folder:
        folder.write_text("a", "b")
    assert calls == ["fsync", "fsync", "fsync_folder", "rename", "fsync_folder"]  # a, manifest; x; its parent
