"""A file of JSON lines that grows while a run goes on, and goes on where the run does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.files.folders import update_folder
from lt_trainer.files.ops import OPS
from lt_trainer.files.staging import make_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


class LineFile:
    """One JSON object a line, each handed to the system before `append` returns: a killed run loses none.

    Args:
        path: of the file; its folder is made where there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._broken = False

    def read(self) -> list[dict[str, Any]]:
        """The whole lines, up to the first that is none, such as one that a power cut left in half."""
        found: list[dict[str, Any]] = []
        if not self.path.is_file():
            return found
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                break
            if not isinstance(value, dict):
                break
            found.append(value)
        return found

    def begin(self, entries: Sequence[dict[str, Any]]) -> None:
        """Makes the file hold a line for each of `entries`, which a run that goes on has logged, and no other.

        Lines that are there already stay as they are, with what they say beside.
        """
        there = self.read()
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        lines = there[: len(entries)]
        if [line.get("step") for line in lines] != [entry.get("step") for entry in entries]:
            lines = [*entries]
        if (wanted := "".join(map(_line, lines))) != text:
            with update_folder(self.path.parent) as folder:
                folder.write_text(self.path.name, wanted)

    def append(self, entry: dict[str, Any]) -> None:
        """Adds a line; where the system refuses, says so once and lets the run go on."""
        if self._broken:
            return
        try:
            make_folder(self.path.parent)
            descriptor = OPS.open_append(self.path)
            try:
                data = memoryview(_line(entry).encode())
                while data:
                    data = data[OPS.write(descriptor, data) :]
            finally:
                OPS.close(descriptor)
        except OSError as error:
            self._broken = True
            logger.warning("%s: no more lines are written, the run goes on: %s", self.path, error)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, default=str) + "\n"
