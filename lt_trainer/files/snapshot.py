"""Files as they are now, kept for a reader who takes his time while their folder goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lt_trainer.files.ops import OPS
from lt_trainer.files.read import safe_join
from lt_trainer.files.staging import ACTIVE, delete_tree, make_folder, temporary_path
from lt_trainer.files.writer import FolderWriter

if TYPE_CHECKING:
    import os
    from pathlib import Path


class Snapshot(FolderWriter):
    """A staging folder of second names: what they stand for stays when the first ones are removed or replaced.

    A file of this package is never changed in place, so a hard link is a copy that costs no byte and no time.

    Args:
        folder: the snapshot is made in it, on the same file system; under a name that `clean_staging` knows.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(temporary_path("tmp", folder / "upload"))
        self.files: dict[str, Path] = {}
        """name -> where it is read."""
        self._begin()

    def link_in(self, source: Path, name: str) -> None:
        """Adds a file that nobody writes into; it is copied where the file system makes no links."""
        target = safe_join(self._staging, name)
        make_folder(target.parent)
        try:
            OPS.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            self.copy_in(source, name)
        self.files[name] = target

    def copy_in(self, source: str | os.PathLike[str], name: str) -> None:
        """Adds what a file holds at this moment; another process may go on writing into it."""
        super().copy_in(source, name)
        self.files[name] = self._staging / name

    def close(self) -> None:
        """Removes the second names."""
        try:
            delete_tree(self._staging)
        finally:
            ACTIVE.discard(self._staging)
