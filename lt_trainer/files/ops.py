"""The seam: every operation that changes a file system, in one object.

Nothing else in the package writes. A fault test replaces the methods of `OPS` by ones that fail or kill at the n-th
call.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NOT_SYNCED_HERE = {errno.EINVAL, errno.ENOTSUP}  # what network and FUSE file systems answer to a sync of a folder


class FileOps:
    """Thin wrappers over `os`. Permissions follow the umask, since nothing here chooses stricter ones."""

    def open_new(self, path: Path) -> int:
        """Opens a file that must not exist yet; returns its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def open_append(self, path: Path) -> int:
        """Opens a file, made where there is none, to write at its end; returns its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Writes some bytes of `data`, perhaps not all; returns how many."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Forces a file to the device.

        Never call it again on a file for which it failed: the system reports such an error once.
        """
        if sys.platform == "darwin":  # there fsync stops at the drive's own cache
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)

    def fsync_folder(self, folder: Path) -> None:
        """Forces the names in a folder to the device, where the file system knows how."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NOT_SYNCED_HERE:
                raise OSError(error.errno, os.strerror(error.errno or 0), str(folder)) from error
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes a descriptor."""
        os.close(descriptor)

    def mkdir(self, path: Path) -> None:
        """Makes one folder."""
        os.mkdir(path)

    def rename(self, source: Path, target: Path) -> None:
        """Renames within one file system; a file at `target` is replaced in one step."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Gives a file a second name within one file system, where that can be done."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Removes a file or a link."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Removes an empty folder."""
        os.rmdir(path)


OPS = FileOps()
