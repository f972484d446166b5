"""The writer of a staging folder: every file is hashed while it streams, and synced when it ends."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor

from lt_trainer.files import tensors as layouts
from lt_trainer.files.ops import OPS
from lt_trainer.files.plain import plain
from lt_trainer.files.read import safe_join
from lt_trainer.files.staging import ACTIVE, delete_tree, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
CHUNK_BYTES = 1 << 24
MAX_SHARD_BYTES = 50 * 10**9


def manifest_bytes(files: Mapping[str, tuple[int, str]]) -> bytes:
    """The manifest's one spelling, so that any changed byte of it shows.

    Args:
        files: name -> (size in bytes, sha256 in hex).
    """
    entries = {name: {"size": size, "sha256": digest} for name, (size, digest) in sorted(files.items())}
    return (json.dumps({"version": MANIFEST_VERSION, "files": entries}, indent=1) + "\n").encode()


class HashedFile:
    """A new file, hashed while it is written. `torch.save` takes it as a stream: it has `write` and `flush`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.error: BaseException | None = None
        self._hash = hashlib.sha256()
        self._descriptor = OPS.open_new(path)

    @property
    def digest(self) -> str:
        """sha256 of what was written, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        """Writes all of `data`; returns its length in bytes."""
        view = memoryview(data).cast("B")
        try:
            for start in range(0, len(view), CHUNK_BYTES):
                self._write_chunk(view[start : start + CHUNK_BYTES])
        except BaseException as error:  # kept: torch's C++ writer replaces it by one of its own
            self.error = self.error or error
            raise
        return len(view)

    def _write_chunk(self, chunk: memoryview) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        while chunk:
            count = OPS.write(self._descriptor, chunk)
            if count <= 0:
                raise OSError(errno.EIO, "The system took no more bytes", str(self.path))
            chunk = chunk[count:]

    def flush(self) -> None:
        """Nothing is held back: `sync` is what makes it durable."""

    def sync(self) -> None:
        """Forces the file to the device."""
        OPS.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file."""
        OPS.close(self._descriptor)


class FolderWriter:
    """Writes files into a staging folder. Names may have folders (`a/b.json`); each name is written once."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self.written: dict[str, tuple[int, str]] = {}
        """name -> (size in bytes, sha256 in hex)."""

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[HashedFile]:
        """A stream into a new file of the folder; synced and entered in `written` when the block ends well."""
        if name in self.written or name == MANIFEST:
            raise ValueError(f"{name!r} is already in this folder; each file is written once: give it another name")
        with self._stream(name) as file:
            yield file
        self.written[name] = (file.size, file.digest)

    @contextlib.contextmanager
    def _stream(self, name: str) -> Iterator[HashedFile]:
        path = safe_join(self._staging, name)
        make_folder(path.parent)
        try:
            file = HashedFile(path)
            try:
                yield file
                file.sync()
            finally:
                file.close()
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise type(error)(error.errno, error.strerror, str(path)) from error

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes bytes."""
        with self.open(name) as file:
            file.write(data)

    def write_text(self, name: str, text: str) -> None:
        """Writes text as UTF-8."""
        self.write_bytes(name, text.encode())

    def write_json(self, name: str, value: Any) -> None:
        """Writes a value as indented JSON, keys in the order given."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_safetensors(
        self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Writes tensors, one after the other, in the layout that the safetensors library gives them.

        Args:
            name: file name.
            tensors: name -> tensor of any shape, strides and device. Tensors that share memory are written once each:
                leave aliases out before.
            metadata: text for the header; "format": "pt" is added, which `transformers` wants to see.
        """
        with self.open(name) as file:
            file.write(layouts.header(tensors, {"format": "pt", **(metadata or {})}))
            for key in layouts.layout(tensors):
                file.write(layouts.bytes_of(tensors[key]))

    def write_weights(self, tensors: Mapping[str, Tensor], max_shard_bytes: int = MAX_SHARD_BYTES) -> list[str]:
        """Writes model.safetensors, or shards and their index if it would pass `max_shard_bytes`; returns the names."""
        shards = layouts.plan_shards(tensors, max_shard_bytes)
        for name, keys in shards.items():
            self.write_safetensors(name, {key: tensors[key] for key in keys})
        if len(shards) == 1:
            return list(shards)
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        weight_map = {key: name for name, keys in shards.items() for key in keys}
        index = "model.safetensors.index.json"
        self.write_json(index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        return [*shards, index]

    def write_torch(self, name: str, value: Any) -> None:
        """Writes a value with `torch.save`, so that `torch.load(weights_only=True)` reads it.

        Raises:
            TypeError: it holds what such a load refuses; the message names the place.
        """
        value = plain(value, name)
        with self.open(name) as file:
            try:
                torch.save(value, cast("IO[bytes]", file))
            except BaseException as error:
                if file.error is None:
                    raise
                raise file.error from error

    def copy_in(self, source: str | os.PathLike[str], name: str) -> None:
        """Copies a file from elsewhere into the folder."""
        with open(source, "rb") as origin, self.open(name) as file:
            while chunk := origin.read(CHUNK_BYTES):
                file.write(chunk)

    def _begin(self) -> None:
        ACTIVE.add(self._staging)  # first: a `clean_staging` of another thread must never find it unowned
        try:
            OPS.mkdir(self._staging)
        except BaseException:
            ACTIVE.discard(self._staging)
            raise

    def _sync_folders(self) -> None:
        """Forces the names of the staging folder and of those in it to the device."""
        folders = {path for name in self.written for path in Path(name).parents} | {Path()}
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            OPS.fsync_folder(self._staging / folder)

    def _discard(self, cause: BaseException) -> None:
        """Removes the staging folder; a failure of that is told beside the cause and does not replace it."""
        try:
            if os.path.lexists(self._staging):
                delete_tree(self._staging)
        except OSError as error:
            cause.add_note(f"{self._staging} could not be removed either ({error}); a later process will.")

    def _publish(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._publish()
        except BaseException as failure:
            error = failure
            raise
        finally:
            ACTIVE.discard(self._staging)
            if error is not None:
                self._discard(error)
