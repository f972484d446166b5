"""Temporary names that tell their owner, and what is done with those of dead processes.

A name is `.tmp-<final name>.<place>.<pid>.<start>.<count>`, or `.old-...` for a folder that steps aside while its
replacement takes its name. `place` stands for host, boot and process namespace; `start` is when the process began,
since process ids come back. So a name alone says whether its owner still lives.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import logging
import os
import re
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lt_trainer.files.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

PATTERN = re.compile(r"\.(?P<kind>tmp|old)-(?P<name>.+)\.(?P<place>[0-9a-f]{8})\.(?P<pid>\d+)\.(?P<start>\d+)\.\d+")
STALE_SECONDS = 3600.0
"""A temporary folder of another host counts as abandoned when nothing in it has changed for so long (seconds)."""

ACTIVE: set[Path] = set()
"""Temporary paths that this process is writing at the moment."""

_counter = itertools.count()


@functools.cache
def _place() -> str:
    """Eight hex digits for this host, boot and process namespace: where a process id has a meaning."""
    facts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        path = Path(source)
        if path.is_symlink():
            facts.append(os.readlink(path))
        elif path.is_file():
            facts.append(path.read_text().strip())
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:8]


def _process_start(pid: int) -> int | None:
    """When a live process began, in clock ticks since boot; 0 where the system does not tell, None for a dead one."""
    stat_file = Path(f"/proc/{pid}/stat")
    if stat_file.is_file():
        fields = stat_file.read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])  # a zombie writes no more
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # it lives and is somebody else's
        return 0
    return 0


def this_process() -> tuple[str, int, int | None]:
    """(place, process id, start) of this process, which no other ever has: see the head of this file."""
    return _place(), os.getpid(), _process_start(os.getpid())


def is_running(place: str, pid: int, start: int) -> bool | None:
    """Whether the process of that identity still runs; None where another place is meant and nobody can tell."""
    if place != _place():
        return None
    now = _process_start(pid)
    return now is not None and now in (0, start)


def temporary_path(kind: str, final: Path) -> Path:
    """A name beside `final` that no live process uses; `kind` is "tmp" or "old"."""
    place, pid, start = this_process()
    return final.with_name(f".{kind}-{final.name}.{place}.{pid}.{start}.{next(_counter)}")


@contextlib.contextmanager
def _owned(path: Path) -> Iterator[Path]:
    ACTIVE.add(path)  # else a `clean_staging` of another thread would delete it at the same time
    try:
        yield path
    finally:
        ACTIVE.discard(path)


def _is_abandoned(path: Path, owner: re.Match[str]) -> bool:
    pid = int(owner["pid"])
    running = is_running(owner["place"], pid, int(owner["start"]))
    if running is None:
        return time.time() - _last_change(path) > STALE_SECONDS
    return not running or (pid == os.getpid() and path not in ACTIVE)


def _last_change(path: Path) -> float:
    """When something in a folder last changed, in seconds since 1970; now, where its owner is just renaming it."""
    try:
        return max(item.lstat().st_mtime for item in [path, *path.rglob("*")])
    except FileNotFoundError:
        return time.time()


@contextlib.contextmanager
def staging_folder(final: Path) -> Iterator[Path]:
    """An empty folder beside `final` for files that others write; it is gone afterwards."""
    make_folder(final.parent)
    with _owned(temporary_path("tmp", final)) as folder:
        OPS.mkdir(folder)
        try:
            yield folder
        finally:
            delete_tree(folder)


def clean_staging(output_dir: str | os.PathLike[str]) -> list[Path]:
    """Removes what dead processes left half-written in `output_dir`; what a live one is writing stays.

    A folder that had stepped aside for a replacement which never arrived goes back to its name.

    Returns:
        The paths that were removed or moved back.
    """
    folder = Path(output_dir)
    done = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        owner = PATTERN.fullmatch(path.name)
        if owner is None or not _is_abandoned(path, owner):
            continue
        try:
            _restore_or_delete(path, path.with_name(owner["name"]), owner["kind"])
        except OSError as error:  # somebody else's, perhaps: no reason to stop a run
            logger.warning("%s, which a dead process left, could not be removed: %s", path, error)
        else:
            done.append(path)
    return done


def _restore_or_delete(path: Path, final: Path, kind: str) -> None:
    if kind == "old" and not os.path.lexists(final):
        OPS.rename(path, final)
        OPS.fsync_folder(final.parent)
        logger.warning("%s was put back: a replacement of it was interrupted.", final)
    else:
        delete_tree(path)


def delete_tree(path: Path) -> None:
    """Deletes a file, a link (never what it points to) or a folder with all that is in it."""
    if not stat.S_ISDIR(path.lstat().st_mode):
        OPS.unlink(path)
        return
    for item in sorted(path.iterdir()):
        delete_tree(item)
    OPS.rmdir(path)


def remove_folder(path: str | os.PathLike[str]) -> None:
    """Renames a folder away and then deletes it, so that nobody ever finds half of it under its name.

    Raises:
        OSError: it could not be renamed (then it is whole) or deleted (then `clean_staging` will, in a later process).
    """
    folder = Path(path)
    with _owned(temporary_path("tmp", folder)) as trash:
        OPS.rename(folder, trash)
        OPS.fsync_folder(folder.parent)
        delete_tree(trash)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Makes a folder and its parents so that they survive a power cut: each name is synced. An existing one is kept.

    Raises:
        NotADirectoryError: a file stands in the place.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if os.path.lexists(folder):
        raise NotADirectoryError(errno.ENOTDIR, "Expected a folder, found a file; move it", str(folder))
    make_folder(folder.parent)
    try:
        OPS.mkdir(folder)
    except FileExistsError:  # another process of the same run was faster
        return make_folder(folder)
    OPS.fsync_folder(folder.parent)
    return folder


def ensure_writable(path: str | os.PathLike[str], need_bytes: int = 0) -> Path:
    """Proves within moments that a folder takes files, making it where it is missing; nothing is left behind.

    Args:
        path: the folder.
        need_bytes: free space that will be wanted, in bytes; an estimate.

    Raises:
        OSError: the system's own kind (PermissionError, NotADirectoryError, ...) with the folder and what to do.
    """
    folder = Path(path)
    try:
        with _owned(temporary_path("tmp", make_folder(folder) / "probe")) as probe:
            descriptor = OPS.open_new(probe)
            try:
                OPS.write(descriptor, memoryview(b"x"))
            finally:
                OPS.close(descriptor)
                OPS.unlink(probe)
        free = shutil.disk_usage(folder).free
        if free < need_bytes:
            raise OSError(errno.ENOSPC, f"{need_bytes / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free")
    except OSError as error:
        reason = f"This folder cannot be written ({error.strerror}); permit it, make room or choose another"
        raise type(error)(error.errno, reason, str(folder)) from error
    return folder
