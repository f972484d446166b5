"""A second run in a folder is refused while the first lives, and by nothing that is dead."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lt_trainer.files import LOCK, FolderLock, clean_staging
from lt_trainer.files import lock as locks
from lt_trainer.files.staging import this_process
from tests.faults.shim import Shim, installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = "import sys; from lt_trainer.files import FolderLock; FolderLock({!r}).acquire(); print('held', flush=True); "


@contextmanager
def held_by_another_process(folder: Path, then: str = "sys.stdin.read()") -> Iterator[subprocess.Popen[str]]:
    code = HOLD.format(str(folder)) + then
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


@contextmanager
def held(folder: Path) -> Iterator[FolderLock]:
    lock = FolderLock(folder)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)


def write_owner(folder: Path, **changes: object) -> None:
    place, pid, start = this_process()
    owner = {"host": "elsewhere", "pid": pid, "place": place, "start": start, **changes}
    (folder / LOCK).write_text(json.dumps(owner))


def test_nothing_stays_when_it_is_released(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        assert clean_staging(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    lock.release()  # once more is nothing
    with held(tmp_path):
        pass


def test_a_live_run_refuses_a_second_and_is_named(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as child:
        with pytest.raises(BlockingIOError, match=rf"process {child.pid} on host .*kill {child.pid}.*output_dir") as e:
            FolderLock(tmp_path).acquire()
        assert e.value.filename == str(tmp_path)
        assert (tmp_path / LOCK).exists()


def test_a_killed_run_blocks_nobody(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as child:
        child.kill()
        child.wait()
        assert (tmp_path / LOCK).exists()
        with held(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_workers_that_outlive_a_killed_run_block_nobody(tmp_path: Path) -> None:
    fork = "import os; os.fork() or (sys.stdin.read(), os._exit(0)); print('forked', flush=True); sys.stdin.read()"
    with held_by_another_process(tmp_path, fork) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "forked\n"
        child.kill()
        child.wait()
        with held(tmp_path):
            pass


def test_a_forked_process_does_not_let_go_for_its_parent(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        child = multiprocessing.get_context("fork").Process(target=lock.release)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert (tmp_path / LOCK).exists()
        with pytest.raises(BlockingIOError):
            FolderLock(tmp_path).acquire()


def test_a_second_run_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path).acquire()


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"pid": "1"}'])
def test_a_file_that_says_nothing_and_is_not_locked_blocks_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content)
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_come_at_once_one_gets_it(tmp_path: Path) -> None:
    write_owner(tmp_path, pid=2**22 + 1)
    barrier, got, refused = threading.Barrier(8), [], []

    def come() -> None:
        lock = FolderLock(tmp_path)
        barrier.wait()
        try:
            lock.acquire()
            got.append(lock)
        except BlockingIOError as error:
            refused.append(error)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    got[0].release()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_of_the_system_a_live_process_refuses(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as child:
        with pytest.raises(BlockingIOError, match=f"process {child.pid}"):
            FolderLock(tmp_path).acquire()
        child.kill()
        child.wait()
        with held(tmp_path):
            pass


@pytest.mark.usefixtures("no_locks")
def test_without_locks_of_the_system_a_process_id_that_came_back_blocks_nobody(tmp_path: Path) -> None:
    if this_process()[2] == 0:
        pytest.skip("this system does not tell when a process began")
    write_owner(tmp_path, start=1)
    with held(tmp_path):
        pass


@pytest.mark.usefixtures("no_locks")
def test_without_locks_of_the_system_another_host_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_owner(tmp_path, place="00000000", pid=7)
    with held(tmp_path):
        pass
    assert "in use by process 7 on host elsewhere" in caplog.text


@pytest.mark.parametrize("at", [1, 2])
def test_a_disk_that_takes_no_lock_leaves_none(tmp_path: Path, at: int) -> None:
    with installed(Shim("full disk", at)), pytest.raises(OSError, match="No space left"):
        FolderLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [1, 2])
def test_a_lock_that_cannot_be_removed_blocks_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    with installed(Shim("read-only", at)):
        lock.release()
    assert "could not be removed" in caplog.text
    with held(tmp_path):
        pass
