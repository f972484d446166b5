"""Readers of files that a stranger may have written: nothing runs, leaves its folder, or grows without bound.

Every refusal is a ValueError (or FileNotFoundError) that names the file.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import os

JSON_BYTES = 1 << 28
"""The largest JSON file that is read, in bytes: the log of a very long run still fits."""

JSON_DEPTH = 100
"""The deepest nesting of a JSON file; what walks it later may recurse."""


AGAIN = "Fetch or save it again."
"""What to do about a file that is damaged or cut."""


def safe_join(folder: str | os.PathLike[str], name: str) -> Path:
    """`folder / name` for a relative name that stays inside, whoever wrote the name.

    Raises:
        ValueError: an absolute name, one with `..`, a backslash or a NUL, or an empty one.
    """
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise ValueError(
            f"{name!r:.200} in {folder}: expected a relative file name that stays inside this folder: "
            "put the file there and name it without '..', '/' in front or '\\'"
        )
    return Path(folder, *parts)


def _boundary(folder: Path) -> Path:
    """How far the links of a folder may lead: to itself, or to the whole repository in the cache of the hub.

    There a snapshot (`models--a--b/snapshots/<commit>`) is links into `models--a--b/blobs`.
    """
    for parent in folder.parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            return parent.parent
    return folder


def existing_file(folder: str | os.PathLike[str], name: str) -> Path:
    """The path of a regular file that lies inside `folder`, after links.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the name or a link leads out of the folder, or it is no regular file.
    """
    path = safe_join(folder, name)
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} is missing. {AGAIN}") from None
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ValueError(f"{path} cannot be read: {error}. Put a copy of the file in its place.") from error
    boundary = _boundary(Path(folder).resolve())
    if not target.is_relative_to(boundary):
        raise ValueError(f"{path} is a link to {target}, outside {boundary}. Put a copy of the file in its place.")
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise ValueError(f"{path}: expected a regular file, found {kind}. Move it away, and put the file in its place.")
    return path


def read_json(path: str | os.PathLike[str], max_bytes: int = JSON_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        path: the file; a link must stay inside its folder.
        max_bytes: largest size that is read, in bytes.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: too large, nested too deep, not UTF-8 or not JSON.
    """
    path = existing_file(Path(path).parent, Path(path).name)
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(
            f"{path} has {size} bytes: expected at most {max_bytes} of JSON. Is it the file that it is named?"
        )
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(_too_deep(path)) from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
    if _depth_exceeds(value, JSON_DEPTH):
        raise ValueError(_too_deep(path))
    return value


def _too_deep(path: Path) -> str:
    return f"{path} is nested too deep: expected at most {JSON_DEPTH} levels. Take it from a source that you trust."


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        inner: list[Any] = []
        for item in level:
            inner.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        if not inner:
            return False
        level = inner
    return True


def read_torch(path: str | os.PathLike[str], *, mmap: bool = False) -> Any:
    """The value in a file of `torch.save`, strictly: no code of the file runs, and no tensor is larger than the file.

    Args:
        path: the file; a link must stay inside its folder.
        mmap: True leaves the tensors' values on disk until they are read.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: not such a file, damaged, or it wants something that only unpickling would give.
    """
    path = existing_file(Path(path).parent, Path(path).name)
    check_container(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(
            f"{path} was refused by torch.load(weights_only=True): {_first_line(error)}. "
            f"Expected plain tensors, numbers and text. {AGAIN}"
        ) from error
    _check_tensors(value, path)
    return value


def check_container(path: Path) -> None:
    """Only the zip container of torch >= 1.6, with stored entries: then sizes are bounded by the file's size."""
    try:
        with zipfile.ZipFile(path) as container:
            entries = container.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ValueError(
            f"{path} is not a file of torch.save in its zip format ({error}). It is damaged, cut, or of torch < 1.6; "
            "plain pickles are never read. Fetch or save it again."
        ) from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError(f"{path} claims more data than the file holds; torch.save never compresses. {AGAIN}")


def _check_tensors(value: Any, path: Path) -> None:
    """Refuses tensors that unfold into more than their storage holds, or that are not plain values in memory."""
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, torch.Tensor):
            dense = item.layout is torch.strided and item.device.type == "cpu" and not item.is_quantized
            if not dense or item.numel() * item.element_size() > item.untyped_storage().nbytes():
                raise ValueError(
                    f"{path} holds a tensor of shape {tuple(item.shape)} that the file has no values for. {AGAIN}"
                )
        elif isinstance(item, (dict, list, tuple, set)) and id(item) not in seen:
            seen.add(id(item))
            todo.extend(item.values() if isinstance(item, dict) else item)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def sha256_of(path: Path) -> str:
    """sha256 of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
