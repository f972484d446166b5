"""A name or a path to a folder: the cache of the hub, closed networks, and what is said when nothing is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from lt_trainer.fetch import CONFIG, MODEL, TOKENIZER, Wanted, resolve_folder

COMMIT = "0123456789" * 4


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets huggingface_hub try the network, which the tests' guard has closed: a request is an error of its own."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def cache(tmp_path: Path, *files: str, content: str = "{}") -> tuple[Path, Path]:
    """A cache of the hub with one snapshot of `org/name`, links and all; returns the cache and the snapshot."""
    repository = tmp_path / "cache" / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for i, name in enumerate(files):
        (repository / "blobs" / str(i)).write_text(content)
        (snapshot / name).symlink_to(f"../../blobs/{i}")
    return tmp_path / "cache", snapshot


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_folder(tmp_path / "org") == tmp_path / "org"
    assert resolve_folder("org/name") == Path("org/name")
    assert resolve_folder("~/org") == tmp_path / "org"


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        (CONFIG, ["config.json"]),
        (TOKENIZER, ["vocab.txt"]),
        (TOKENIZER, ["tokenizer.json"]),
        (MODEL, ["config.json", "model.safetensors"]),
        (MODEL, ["config.json", "pytorch_model.bin"]),
    ],
)
def test_what_is_all_cached_needs_no_request(tmp_path: Path, wanted: Wanted, files: list[str]) -> None:
    place, snapshot = cache(tmp_path, *files)
    assert resolve_folder("org/name", cache_dir=place, wanted=wanted) == snapshot
    assert resolve_folder("org/name", cache_dir=place, wanted=wanted, revision=COMMIT) == snapshot
    assert resolve_folder("org/name", cache_dir=place, wanted=wanted, local_files_only=True) == snapshot


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("wanted", "files"),
    [(MODEL, ["config.json"]), (MODEL, ["model.safetensors"]), (TOKENIZER, ["config.json"]), (CONFIG, ["vocab.txt"])],
)
def test_what_is_not_all_cached_is_asked_for(tmp_path: Path, wanted: Wanted, files: list[str]) -> None:
    place, _ = cache(tmp_path, *files)
    with pytest.raises(FileNotFoundError, match="NetworkClosedError"):
        resolve_folder("org/name", cache_dir=place, wanted=wanted)
    with pytest.raises(FileNotFoundError, match="lacks some of it"):
        resolve_folder("org/name", cache_dir=place, wanted=wanted, local_files_only=True)


@pytest.mark.usefixtures("online")
def test_a_cached_index_needs_all_of_its_shards(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    place, snapshot = cache(
        tmp_path, "config.json", "model.safetensors.index.json", "model-1.safetensors", content=index
    )
    with pytest.raises(FileNotFoundError, match="NetworkClosedError"):
        resolve_folder("org/name", cache_dir=place)
    (snapshot / "model-2.safetensors").write_text("")
    assert resolve_folder("org/name", cache_dir=place) == snapshot


def test_the_offline_switch_is_honoured(tmp_path: Path) -> None:
    place, _ = cache(tmp_path, "config.json")
    began = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"'other/name' was taken as a name on the hub.*HF_HUB_OFFLINE"):
        resolve_folder("other/name", cache_dir=place)
    assert time.monotonic() - began < 2


def test_safetensors_are_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, snapshot = cache(tmp_path, "config.json")
    asked = []

    def download(name: str, *, local_files_only: bool, allow_patterns: list[str], **rest: object) -> str:
        if not local_files_only:
            asked.append(allow_patterns)
            if "pytorch_model.bin" in allow_patterns:
                (snapshot / "pytorch_model.bin").write_text("")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_folder("org/name", cache_dir=place) == snapshot
    assert [("model.safetensors" in a, "pytorch_model.bin" in a) for a in asked] == [(True, False), (True, True)]


@pytest.mark.parametrize(
    "name", ["runs/best", "./best", "/nowhere/best", "a/b/c", "../best", "best\\one", "", "best--one"]
)
def test_a_missing_folder_names_those_that_are_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "beast").mkdir()
    (tmp_path / ".hidden").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*Folders in /") as caught:
        resolve_folder(name)
    assert (name == "runs/best") == ("taken as a name on the hub" in str(caught.value))
    if name and not name.startswith(("/", "..")):
        assert str(caught.value).endswith(f"Folders in {tmp_path}: beast.")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is a file: expected the folder that holds"):
        resolve_folder(tmp_path / "model.safetensors")
