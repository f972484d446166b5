"""One run a folder: a second one is refused while the first lives, and never by one that is dead.

The lock is a hidden file which holds who took it, under a `flock` of the system. The system lets go of that when the
process ends, however it ends, so what a killed run leaves behind blocks nobody: the next run takes it over. It works
between containers of a machine, and between hosts where the file system carries locks (NFS does).

Where the file system knows no locks, the identity in the file decides (see `staging`): a live process of this host and
boot refuses the second; of another host nobody can tell, so that one is only named in a warning.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from lt_trainer.files.ops import OPS
from lt_trainer.files.staging import is_running, this_process

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LOCK = ".lt_trainer.lock"
MAX_BYTES = 4096
HELD_ELSEWHERE = {errno.EAGAIN, errno.EACCES}
NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}

_held: set[FolderLock] = set()


class FolderLock:
    """Who works in a folder; only the process of a run that writes takes it.

    Args:
        folder: an existing one.
        name: of the file.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str = LOCK) -> None:
        self.path = Path(folder) / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock; what a dead process left is taken over.

        Raises:
            BlockingIOError: another run works in the folder (names its host and process, and what to do).
            OSError: the lock cannot be written.
        """
        while self._descriptor is None:
            self._try_to_acquire()
        _held.add(self)

    def release(self) -> None:
        """Removes the lock; without effect where it is not held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        try:
            try:
                if _is_file(descriptor, self.path):
                    OPS.unlink(self.path)
            finally:
                OPS.close(descriptor)
        except OSError as error:  # nobody is blocked by a file without a lock
            logger.warning("%s could not be removed: %s", self.path, error)

    def _try_to_acquire(self) -> None:
        """One attempt; returns without the lock where the file was replaced meanwhile."""
        try:
            descriptor = OPS.open_new(self.path)
        except FileExistsError:
            self._remove_dead()
            return
        try:
            _lock(descriptor, self.path)
            if _is_file(descriptor, self.path):  # else another one, fast enough to come between, took it for dead
                self._write_identity(descriptor)
                self._descriptor = descriptor
        finally:
            if self._descriptor is None:
                OPS.close(descriptor)

    def _write_identity(self, descriptor: int) -> None:
        try:
            OPS.write(descriptor, memoryview(_identity()))
        except OSError as error:
            OPS.unlink(self.path)
            raise type(error)(error.errno, error.strerror, str(self.path)) from error

    def _remove_dead(self) -> None:
        """Removes the file of a dead process.

        Raises:
            BlockingIOError: its process lives.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)  # flock over NFS asks for a file open for writing
        except FileNotFoundError:  # released this moment
            return
        try:
            locks_work = _lock(descriptor, self.path)
            if not locks_work:
                _refuse_if_running(self.path)
            if _is_file(descriptor, self.path):
                OPS.unlink(self.path)
        finally:
            OPS.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """Takes the system's lock on an open file; False where there are no locks.

    Raises:
        BlockingIOError: another one holds it.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD_ELSEWHERE:
            raise _in_use(path) from None
        if error.errno in NO_LOCKS_HERE:
            return False
        raise
    return True


def _refuse_if_running(path: Path) -> None:
    owner = _owner(path)
    running = is_running(owner.get("place", ""), owner.get("pid", 0), owner.get("start", 0)) if owner else False
    if running:
        raise _in_use(path)
    if running is None:
        logger.warning(
            "%s was in use by process %s on host %s, and this file system cannot tell whether it still runs; "
            "make sure that it does not",
            *(path.parent, owner.get("pid"), owner.get("host")),
        )


def _in_use(path: Path) -> BlockingIOError:
    owner = _owner(path)
    host, pid = owner.get("host", "unknown"), owner.get("pid", "unknown")
    return BlockingIOError(
        errno.EWOULDBLOCK,
        f"This folder is in use by another run, process {pid} on host {host}; wait for it, end it (kill {pid}), "
        "or choose another output_dir",
        str(path.parent),
    )


def _identity() -> bytes:
    place, pid, start = this_process()
    owner = {"host": socket.gethostname(), "pid": pid, "place": place, "start": start}
    return (json.dumps(owner) + "\n").encode()


def _owner(path: Path) -> dict[str, Any]:
    """What a lock says of its process; empty where it says nothing (yet)."""
    try:
        with path.open("rb") as file:
            owner = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError):
        return {}
    types = {"host": str, "pid": int, "place": str, "start": int}
    sane = isinstance(owner, dict) and all(type(owner.get(key)) is kind for key, kind in types.items())
    return owner if sane else {}


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _let_go_in_child() -> None:
    """A forked process, such as a loader's worker, must not hold on when the run is killed."""
    for lock in list(_held):
        if lock._descriptor is not None:
            os.close(lock._descriptor)
            lock._descriptor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
