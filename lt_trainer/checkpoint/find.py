"""Which checkpoints there are, which are whole, which one to go on from, which to remove."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.checkpoint.format import (
    CONFIG,
    OPTIMIZER,
    SCALER,
    SCHEDULER,
    SIDE,
    TRAINER_STATE,
    rng_files,
)
from lt_trainer.files import (
    MANIFEST,
    check_container,
    existing_file,
    manifest_bytes,
    read_json,
    read_torch,
    remove_folder,
    sha256_of,
)
from lt_trainer.models.weights import WeightIndex, read_config

if TYPE_CHECKING:
    from collections.abc import Collection

NAME = re.compile(r"checkpoint-(\d+)")
MANIFEST_BYTES = 1 << 24


def step_of(checkpoint: str | os.PathLike[str]) -> int:
    """The optimizer step in the name of a checkpoint folder.

    Raises:
        ValueError: not such a name.
    """
    match = NAME.fullmatch(Path(checkpoint).name)
    if match is None:
        raise ValueError(
            f"{os.fspath(checkpoint)!r}: expected a folder named checkpoint-<step>: "
            "give it such a name (checkpoint-500), or name another folder"
        )
    return int(match[1])


def list_checkpoints(output_dir: str | os.PathLike[str]) -> list[Path]:
    """The folders `checkpoint-<step>` in `output_dir`, lowest step first. Times do not count: copies change them."""
    folder = Path(output_dir)
    items = folder.iterdir() if folder.is_dir() else ()
    return sorted((item for item in items if NAME.fullmatch(item.name) and item.is_dir()), key=step_of)


def verify(checkpoint: str | os.PathLike[str]) -> str | None:
    """None for a whole checkpoint, else what is wrong with it, naming the file.

    Ours is read whole and compared with its manifest. A folder of `transformers` has none: it is whole when its files
    parse, which finds a cut file and not a changed byte.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        if os.path.lexists(folder / MANIFEST):
            return damage(folder, (SIDE, TRAINER_STATE))
        if os.path.lexists(folder / SIDE):
            return f"{MANIFEST} is missing beside {SIDE}: not all of this folder is here"
        return _check_foreign(folder)
    except (OSError, ValueError) as error:
        return str(error)


def unresumable(checkpoint: str | os.PathLike[str]) -> str | None:
    """None for a whole checkpoint to go on from, else what is wrong with it, naming the file."""
    reason = verify(checkpoint)
    if reason is None and not os.path.lexists(Path(checkpoint) / OPTIMIZER):
        return f"it has no {OPTIMIZER}: a save with save_only_model=True cannot be resumed"
    return reason


def newest_valid(output_dir: str | os.PathLike[str], *, resumable: bool = True) -> tuple[Path, list[tuple[Path, str]]]:
    """The checkpoint of the highest step that verifies, and those of higher steps that were passed over, with reasons.

    Args:
        output_dir: the folder of the run.
        resumable: True passes over checkpoints without the optimizer's state (`save_only_model=True`).

    Raises:
        FileNotFoundError: there is none; the message lists what is there.
    """
    passed_over: list[tuple[Path, str]] = []
    for folder in reversed(list_checkpoints(output_dir)):
        reason = unresumable(folder) if resumable else verify(folder)
        if reason is None:
            return folder, passed_over
        passed_over.append((folder, reason))
    found = "; ".join(f"{folder.name}: {reason}" for folder, reason in passed_over)
    raise FileNotFoundError(
        f"No checkpoint to go on from in {output_dir}: expected a whole folder checkpoint-<step>, found "
        f"{found or _names(Path(output_dir))}. Train without resume_from_checkpoint, or name the folder of another run."
    )


def get_last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest whole checkpoint of a folder, for scripts that go on by themselves; None where there is none."""
    whole = (path for path in reversed(list_checkpoints(folder)) if verify(path) is None)
    return next((str(path) for path in whole), None)


def rotate(output_dir: str | os.PathLike[str], limit: int | None, keep: Collection[Path]) -> list[Path]:
    """Removes checkpoints, lowest step first, until `limit` are left; returns the removed ones.

    Args:
        output_dir: the folder of the run.
        limit: how many may stay; None or less than 1 removes none.
        keep: those that stay in any case, such as the one that was just saved and the best one.

    Raises:
        OSError: one could not be removed; the later ones are still there.
    """
    present = list_checkpoints(output_dir)
    if limit is None or limit < 1:
        return []
    kept = {Path(path).absolute() for path in keep}
    spare = [folder for folder in present if folder.absolute() not in kept]
    removed = spare[: max(0, len(present) - limit)]
    for folder in removed:
        remove_folder(folder)
    return removed


def damage(folder: Path, expected: Collection[str] = ()) -> str | None:
    """None where every file is what the manifest says, else what is wrong, naming the file.

    Args:
        folder: that `files.AtomicFolder` wrote.
        expected: names that the manifest must list.

    Raises:
        OSError, ValueError: the manifest or a file cannot be read.
    """
    path = existing_file(folder, MANIFEST)
    files = _manifest_files(read_json(path, max_bytes=MANIFEST_BYTES))
    if files is None or manifest_bytes(files) != path.read_bytes():
        return f"{MANIFEST} is damaged"
    for name in expected:
        if name not in files:
            return f"{MANIFEST} does not list {name}: this is no checkpoint"
    for name, (size, digest) in files.items():
        file = existing_file(folder, name)
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, expected {size}"
        if sha256_of(file) != digest:
            return f"{name} is damaged: its hash is not the one in {MANIFEST}"
    return None


def _manifest_files(manifest: Any) -> dict[str, tuple[int, str]] | None:
    """Name -> (size in bytes, sha256), or None for something else; the caller compares the spelling."""
    try:
        return {name: (entry["size"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (AttributeError, KeyError, TypeError):
        return None


def _check_foreign(folder: Path) -> str | None:
    state = read_json(folder / TRAINER_STATE)
    if not isinstance(state, dict) or type(state.get("global_step")) is not int:
        return f"{TRAINER_STATE} has no global_step"
    WeightIndex(folder)
    if os.path.lexists(folder / CONFIG):
        read_config(folder)
    present = [name for name in (OPTIMIZER, SCHEDULER, SCALER) if os.path.lexists(folder / name)]
    for name in present:
        read_torch(folder / name, mmap=True)
    for path in rng_files(folder):
        check_container(existing_file(folder, path.name))
    if present and not {OPTIMIZER, SCHEDULER} <= set(present):
        return f"{OPTIMIZER if SCHEDULER in present else SCHEDULER} is missing beside {present[0]}"
    return None


def _names(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return (
        ", ".join(sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))[:12])
        or "an empty folder"
    )
