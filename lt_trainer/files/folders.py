"""How a staging folder takes its place: as a whole, or file by file into a folder that holds other things."""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lt_trainer.files.ops import OPS
from lt_trainer.files.read import safe_join
from lt_trainer.files.staging import ACTIVE, clean_staging, delete_tree, make_folder, temporary_path
from lt_trainer.files.writer import MANIFEST, MAX_SHARD_BYTES, FolderWriter, manifest_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

logger = logging.getLogger(__name__)

WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
"""The files that `FolderWriter.write_weights` makes."""


class AtomicFolder(FolderWriter):
    """A folder that appears whole, with a manifest, or not at all. An existing one is replaced only then.

    Example:
        with AtomicFolder("runs/a/checkpoint-10") as folder:
            folder.write_json("config.json", config)

    Raises:
        OSError: what the system answered, with the file; the folder that was there before is untouched.
    """

    def __init__(self, final_path: str | os.PathLike[str]) -> None:
        self.path = Path(final_path)
        super().__init__(temporary_path("tmp", self.path))

    def _begin(self) -> None:
        make_folder(self.path.parent)
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, "Expected a folder or nothing, found a file; move it", str(self.path)
            )
        super()._begin()

    def _publish(self) -> None:
        data = manifest_bytes(self.written)
        with self._stream(MANIFEST) as file:
            file.write(data)
        self._sync_folders()
        aside = self._take_place()
        try:
            OPS.fsync_folder(self.path.parent)
            if aside is not None:
                self._remove_aside(aside)
        finally:
            if aside is not None:
                ACTIVE.discard(aside)

    def _take_place(self) -> Path | None:
        """Renames the finished folder to its name; returns where the one that was there has gone, if there was one."""
        if not os.path.lexists(self.path):
            OPS.rename(self._staging, self.path)
            return None
        aside = temporary_path("old", self.path)
        ACTIVE.add(aside)
        try:
            OPS.rename(self.path, aside)
            try:
                OPS.rename(self._staging, self.path)
            except BaseException:
                OPS.rename(aside, self.path)
                raise
        except BaseException:
            ACTIVE.discard(aside)
            raise
        return aside

    def _remove_aside(self, aside: Path) -> None:
        """Deletes the replaced folder. The new one is safe by now, so a failure is told and does not undo the save."""
        try:
            delete_tree(aside)
        except OSError as error:
            logger.warning("%s, the folder that was replaced, could not be removed: %s", aside, error)


class _FolderUpdate(FolderWriter):
    """Files that take their places in a folder which holds other things too; see `update_folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._obsolete: list[str] = []
        super().__init__(temporary_path("tmp", folder / "update"))

    def remove(self, name: str) -> None:
        """Marks a file of the folder, if it is there, for removal once the new ones are in place."""
        safe_join(self.path, name)
        self._obsolete.append(name)

    def write_weights(self, tensors: Mapping[str, Tensor], max_shard_bytes: int = MAX_SHARD_BYTES) -> list[str]:
        """As in any folder; weights that an earlier save left in other files go, so that nobody loads those."""
        names = super().write_weights(tensors, max_shard_bytes)
        self._obsolete += [item.name for item in self.path.iterdir() if WEIGHTS.fullmatch(item.name)]
        return names

    def _begin(self) -> None:
        make_folder(self.path)
        clean_staging(self.path)  # a folder of a model alone has no run that would do it
        super()._begin()

    def _publish(self) -> None:
        for name in self.written:
            make_folder((self.path / name).parent)
            OPS.rename(self._staging / name, self.path / name)
        for name in self._obsolete:
            if name not in self.written and os.path.lexists(self.path / name):
                OPS.unlink(self.path / name)
        folders = {(self.path / name).parent for name in (*self.written, *self._obsolete)} | {self.path}
        for folder in sorted(folders):
            OPS.fsync_folder(folder)
        delete_tree(self._staging)


def update_folder(folder: str | os.PathLike[str]) -> _FolderUpdate:
    """Puts files into a folder beside what it already holds, each whole or not at all.

    Every file is written and synced in a staging folder inside, then renamed to its place in the order of writing:
    write what points to others (an index, a config) last. There is no manifest, since other files live there too.

    Example:
        with update_folder("runs/a") as top:
            top.write_weights(model.state_dict())
            top.write_json("config.json", config)
    """
    return _FolderUpdate(Path(folder))
