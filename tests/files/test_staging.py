"""What dead processes leave is found and removed, and what a live one writes is not; folders are proven writable."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer import files
from lt_trainer.files import staging
from lt_trainer.files.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Callable

ALIVE_ELSEWHERE = ".tmp-checkpoint-3.00000000.1.1.0"
"""A staging folder of another host: only its age tells."""


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def save(folder: Path, text: str) -> None:
    with files.AtomicFolder(folder) as new:
        new.write_text("a", text)


def clean_at_every_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Cleans `folder` after each call of the system, as another thread might; returns what that took away."""
    cleaned: list[Path] = []

    def followed(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with monkeypatch.context() as plain:
                for name, own in operations.items():
                    plain.setattr(OPS, name, own)
                result = operation(*args)
                cleaned.extend(files.clean_staging(folder))
            return result

        return call

    operations = {
        name: getattr(OPS, name) for name in ("mkdir", "rename", "unlink", "rmdir", "open_new", "fsync_folder")
    }
    for name, operation in operations.items():
        monkeypatch.setattr(OPS, name, followed(operation))
    return cleaned


# --- staging ----------------------------------------------------------------------------------------------------------


def test_clean_staging_keeps_what_is_being_written(tmp_path: Path) -> None:
    with files.AtomicFolder(tmp_path / "x") as folder:
        folder.write_text("a", "b")
        assert files.clean_staging(tmp_path) == []
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("replaced", [False, True])
def test_clean_staging_of_another_thread_leaves_a_save_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    if replaced:
        save(tmp_path / "x", "old")
    cleaned = clean_at_every_step(tmp_path, monkeypatch)
    save(tmp_path / "x", "new")
    assert (tmp_path / "x" / "a").read_text() == "new"
    assert names(tmp_path) == ["x"]
    assert cleaned == []


def test_clean_staging_of_another_thread_leaves_a_removal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "x", "old")
    cleaned = clean_at_every_step(tmp_path, monkeypatch)
    files.remove_folder(tmp_path / "x")
    files.ensure_writable(tmp_path)
    assert names(tmp_path) == []
    assert cleaned == []


def test_what_could_not_be_removed_is_left_to_clean_staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    save(tmp_path / "x", "old")
    with monkeypatch.context() as failing:
        failing.setattr(OPS, "rmdir", refuse)
        with pytest.raises(OSError, match="Input/output"):
            files.remove_folder(tmp_path / "x")
    assert len(files.clean_staging(tmp_path)) == 1
    assert names(tmp_path) == []


def test_clean_staging_removes_what_a_dead_process_left(tmp_path: Path) -> None:
    code = (
        "import os; from lt_trainer.files import AtomicFolder\n"
        f"folder = AtomicFolder({str(tmp_path / 'x')!r}).__enter__(); folder.write_text('a/b', 'c'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (left,) = names(tmp_path)
    assert left.startswith(".tmp-x.")
    assert [path.name for path in files.clean_staging(tmp_path)] == [left]
    assert names(tmp_path) == []


def test_update_folder_removes_what_a_dead_update_left(tmp_path: Path) -> None:
    (tmp_path / f".tmp-update.{staging._place()}.{2**22 + 1}.1.0").mkdir()
    with files.update_folder(tmp_path) as top:
        top.write_text("a", "b")
    assert names(tmp_path) == ["a"]


def test_clean_staging_keeps_what_another_live_process_writes(tmp_path: Path) -> None:
    code = (
        "import sys; from lt_trainer.files import AtomicFolder\n"
        f"folder = AtomicFolder({str(tmp_path / 'x')!r}).__enter__(); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert files.clean_staging(tmp_path) == []
        child.kill()
    assert len(files.clean_staging(tmp_path)) == 1


def test_a_process_id_that_came_back_is_not_its_former_owner(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").is_file():
        pytest.skip("this system does not tell when a process began")
    (tmp_path / f".tmp-x.{staging._place()}.{os.getpid()}.1.0").mkdir()
    assert len(files.clean_staging(tmp_path)) == 1


def test_staging_of_another_host_goes_when_it_is_old(tmp_path: Path) -> None:
    left = tmp_path / ALIVE_ELSEWHERE
    left.mkdir()
    assert files.clean_staging(tmp_path) == []
    long_ago = time.time() - 2 * staging.STALE_SECONDS
    os.utime(left, (long_ago, long_ago))
    assert files.clean_staging(tmp_path) == [left]


def test_what_cannot_be_cleaned_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / f".tmp-x.{staging._place()}.{2**22 + 1}.1.0").mkdir()  # Linux gives no process a number above 2**22
    monkeypatch.setattr(OPS, "rmdir", refuse)
    assert files.clean_staging(tmp_path) == []
    assert "could not be removed: [Errno 13]" in caplog.text


def test_a_folder_that_stepped_aside_in_vain_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with files.AtomicFolder(tmp_path / "best") as folder:
        folder.write_text("a", "b")
    (tmp_path / "best").rename(tmp_path / f".old-best.{staging._place()}.{os.getpid()}.1.0")
    with caplog.at_level(logging.WARNING):
        files.clean_staging(tmp_path)
    assert names(tmp_path) == ["best"]
    assert "put back" in caplog.text


def test_clean_staging_touches_nothing_else(tmp_path: Path) -> None:
    for name in (".tmp-x", ".tmp-x.1.2.3", "tmp-x.00000000.1.1.0", ".git"):
        (tmp_path / name).mkdir()
    assert files.clean_staging(tmp_path) == []
    assert files.clean_staging(tmp_path / "absent") == []


def test_remove_folder_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_text("b")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "link").symlink_to(tmp_path / "outside")
    files.remove_folder(tmp_path / "x")
    assert names(tmp_path) == ["outside"]
    assert names(tmp_path / "outside") == ["a"]


# --- ensure_writable --------------------------------------------------------------------------------------------------


def test_ensure_writable_makes_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    assert files.ensure_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path / "a" / "b") == []


def test_ensure_writable_names_a_file_in_the_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(NotADirectoryError, match=r"cannot be written \(Expected a folder.*choose another.*/a"):
            files.ensure_writable(folder)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["open_new", "write", "mkdir"])
def test_ensure_writable_names_the_folder_and_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, operation: str
) -> None:
    def fail(*args: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(OPS, operation, fail)
    with pytest.raises(OSError, match=rf"cannot be written \({os.strerror(code)}\).*run") as caught:
        files.ensure_writable(tmp_path / "run")
    assert caught.value.errno == code


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_ensure_writable_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="cannot be written"):
        files.ensure_writable(tmp_path)


def test_ensure_writable_compares_free_space(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"1000000000\.00 GB are needed and .* GB are free") as caught:
        files.ensure_writable(tmp_path, need_bytes=10**18)
    assert caught.value.errno == errno.ENOSPC
