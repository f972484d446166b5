"""Readers that trust nothing."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer import files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b"[" * 200 + b"]" * 200, "nested too deep"),
        (b" " * 2000, "2000 bytes: expected at most 1000"),
    ],
)
def test_bad_json_is_a_value_error_that_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    limit = 1000 if content.isspace() else 10**6
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        files.read_json(tmp_path / "config.json", max_bytes=limit)


def test_json_may_be_nested_within_reason(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 90 + '"[[[["' + "]" * 90)
    value = files.read_json(tmp_path / "a.json")
    for _ in range(90):
        (value,) = value
    assert value == "[[[["


def test_a_device_or_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "folder.json"):
        if name.startswith("folder"):
            (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match="expected a regular file"):
            files.read_json(tmp_path / name)


def test_links_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "inside.json").write_text("{}")
    (folder / "a.json").symlink_to("inside.json")
    (folder / "b.json").symlink_to("../secret.json")
    (folder / "c.json").symlink_to("c.json")
    (folder / "d.json").symlink_to("nowhere")
    assert files.read_json(folder / "a.json") == {}
    with pytest.raises(ValueError, match=r"b\.json is a link to .*secret\.json, outside .*model"):
        files.read_json(folder / "b.json")
    with pytest.raises(ValueError, match=r"c\.json cannot be read"):
        files.read_json(folder / "c.json")
    with pytest.raises(FileNotFoundError, match=r"d\.json is missing"):
        files.read_json(folder / "d.json")


def test_a_link_to_the_model_folder_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_text("1")
    (tmp_path / "link").symlink_to("real")
    assert files.read_json(tmp_path / "link" / "a.json") == 1


def test_links_of_the_hub_cache_stay_in_their_repository(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "1").write_text("1")
    (tmp_path / "2").write_text("2")
    (snapshot / "a.json").symlink_to("../../blobs/1")
    (snapshot / "b.json").symlink_to("../../../2")
    assert files.read_json(snapshot / "a.json") == 1
    with pytest.raises(ValueError, match="outside"):
        files.read_json(snapshot / "b.json")


def test_torch_files_may_not_claim_more_than_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "o.pt"
    torch.save({"a": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(ValueError, match=r"o\.pt.*\(1000000000000,\)"):
        files.read_torch(path)
    torch.save({"a": torch.empty(10**12, device="meta")}, path)
    with pytest.raises(ValueError, match=r"o\.pt.*no values"):
        files.read_torch(path)


def test_compressed_torch_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "o.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ValueError, match=r"o\.pt claims more data"):
        files.read_torch(tmp_path / "o.pt")


def test_the_old_torch_format_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "o.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"o\.pt is not a file of torch\.save in its zip format"):
        files.read_torch(tmp_path / "o.pt")


def test_nested_values_are_walked_once(tmp_path: Path) -> None:
    value: Any = [1]
    for _ in range(100):  # 2**100 paths, 100 lists
        value = [value, value]
    torch.save(value, tmp_path / "o.pt")
    assert len(files.read_torch(tmp_path / "o.pt")) == 2
