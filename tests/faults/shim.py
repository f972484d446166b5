"""A shim over the file operations that counts them, and fails or kills at the n-th."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lt_trainer.files.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPERATIONS = (
    "open_new",
    "open_append",
    "write",
    "fsync",
    "fsync_folder",
    "close",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
)
ERRORS = {"full disk": errno.ENOSPC, "input/output error": errno.EIO, "read-only": errno.EROFS}
FAULTS = ("kill", "exit", "short write", *ERRORS)


class Killed(BaseException):
    """The process is no more: nothing that it would do after this reaches the disk."""


class Shim:
    """What happens at the `at`-th operation (from 1; 0 is never), and what was called so far."""

    def __init__(self, fault: str = "kill", at: int = 0, *, sync: bool = False) -> None:
        self.fault = fault
        self.at = at
        self.sync = sync
        """Whether files are really forced to the device, which is slow and of use only where the power is cut."""
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.dead = False
        self.paths: dict[int, Path] = {}
        self.failed_syncs: list[Any] = []

    def call(self, name: str, real: Callable[..., Any], *args: Any) -> Any:
        shown = (self.paths.get(args[0], args[0]), *args[1:]) if name in ("write", "fsync", "close") else args
        self.calls.append((name, shown))
        struck = self.dead or len(self.calls) == self.at
        if name == "close":  # descriptors are given back even by the dead: closing writes nothing
            real(*args)
        if struck and (name == "write" or self.fault != "short write"):
            return self._strike(name, real, *args)
        if name == "close":
            return None
        assert name != "fsync" or shown[0] not in self.failed_syncs, f"{shown[0]} was synced again after a failure"
        if name.startswith("fsync") and not self.sync:
            return None
        result = real(*args)
        if name in ("open_new", "open_append"):
            self.paths[result] = args[0]
        return result

    def _strike(self, name: str, real: Callable[..., Any], *args: Any) -> Any:
        if self.fault == "exit":
            os._exit(9)
        if self.fault == "kill":
            self.dead = True
            raise Killed
        if self.fault == "short write":
            return real(args[0], args[1][: max(1, len(args[1]) // 2)])
        if name == "fsync":
            self.failed_syncs.append(self.paths[args[0]])
        raise OSError(ERRORS[self.fault], os.strerror(ERRORS[self.fault]))


@contextmanager
def installed(shim: Shim) -> Iterator[Shim]:
    """Puts the shim between the package and the system."""
    before = dict(vars(OPS))
    for name in OPERATIONS:
        real = getattr(OPS, name)
        setattr(OPS, name, lambda *args, _name=name, _real=real: shim.call(_name, _real, *args))
    try:
        yield shim
    finally:
        vars(OPS).clear()
        vars(OPS).update(before)
