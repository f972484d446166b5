"""The checkpoint folder: the layout of `transformers` 5, a manifest, and one side file of ours.

    model.safetensors      weights (or shards with their index)
    config.json, ...       what `save_pretrained` of the model and the tokenizer write
    optimizer.pt           state_dict of the optimizer
    scheduler.pt           state_dict of the schedule
    scaler.pt              state_dict of the loss scaler, under fp16
    rng_state.pth          generators; rng_state_<rank>.pth with several processes
    trainer_state.json     TrainerState
    lt_trainer.json        ours: what the others have no place for
    manifest.json          sizes and hashes, written last

`*.pt` and `*.pth` are written by `torch.save` and read by `torch.load(weights_only=True)`, here and there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.files import WEIGHTS, FolderWriter, read_json, read_torch
from lt_trainer.models.weights import WeightIndex, read_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

CONFIG = "config.json"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
TRAINER_STATE = "trainer_state.json"
SIDE = "lt_trainer.json"
FORMAT = 1


@dataclass
class CheckpointState:
    """All that one moment of a run is."""

    model_state: Mapping[str, Tensor]
    """name -> tensor, one name for tied ones; after reading, a `WeightIndex` that reads each when asked."""
    trainer_state: dict[str, Any]
    config: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    rng: list[dict[str, Any]] = field(default_factory=list)
    """One state a rank, as `checkpoint.rng.rng_state` gives it."""
    side: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values; empty for a folder of `transformers`."""
    extras: dict[str, bytes] = field(default_factory=dict)
    """Further files (tokenizer, generation config): name -> content. Not read back. Weights and a configuration among
    them, of a trainer's own `save_model`, stand in place of those above."""
    notes: list[str] = field(default_factory=list)
    """After reading: what could not be restored and why, a sentence each."""


def write_checkpoint(folder: FolderWriter, state: CheckpointState) -> None:
    """Writes a state into an open `AtomicFolder`, tensor by tensor.

    Raises:
        OSError: what the system answered.
        TypeError: optimizer, schedule, scaler or generators hold what a strict load refuses.
    """
    write_model(folder, state.model_state, state.config, state.extras)
    for name, value in ((OPTIMIZER, state.optimizer), (SCHEDULER, state.scheduler), (SCALER, state.scaler)):
        if value is not None:
            folder.write_torch(name, value)
    for name, generators in zip(_rng_names(len(state.rng)), state.rng, strict=True):
        folder.write_torch(name, generators)
    folder.write_json(TRAINER_STATE, state.trainer_state)
    folder.write_json(SIDE, {"format": FORMAT, **state.side})


def write_model(folder: FolderWriter, weights: Mapping[str, Tensor], config: Any, extras: Mapping[str, bytes]) -> None:
    """Writes what `from_pretrained` loads: weights, configuration, and further files, which come first."""
    if not any(map(WEIGHTS.fullmatch, extras)):
        folder.write_weights(weights)
    if config is not None and CONFIG not in extras:
        folder.write_json(CONFIG, config)
    for name, data in extras.items():
        folder.write_bytes(name, data)


def read_checkpoint(path: str | os.PathLike[str]) -> CheckpointState:
    """Reads a checkpoint of ours or of `transformers`. It is not verified here: see `find.verify`.

    Raises:
        FileNotFoundError: no such folder, or one without weights or trainer_state.json.
        ValueError: a damaged file; the message names it.
    """
    folder = Path(path)
    side = _object(folder / SIDE) if _exists(folder / SIDE) else {}
    if (written_as := side.pop("format", FORMAT)) != FORMAT:
        raise ValueError(
            f"{folder / SIDE}: another format, {written_as!r:.80}, expected {FORMAT}: upgrade lt_trainer, "
            "or go on from another checkpoint"
        )
    state = CheckpointState(
        model_state=WeightIndex(folder),
        trainer_state=_object(folder / TRAINER_STATE),
        config=read_config(folder) if _exists(folder / CONFIG) else None,
        optimizer=_optional(folder / OPTIMIZER),
        scheduler=_optional(folder / SCHEDULER),
        scaler=_optional(folder / SCALER),
        side=side,
    )
    _read_rng(folder, state, ours=_exists(folder / SIDE))
    return state


def rng_files(folder: Path) -> list[Path]:
    """The files of generators in a folder, by rank."""
    single = folder / "rng_state.pth"
    if _exists(single):
        return [single]
    count = 0
    while _exists(folder / f"rng_state_{count}.pth"):
        count += 1
    return [folder / f"rng_state_{rank}.pth" for rank in range(count)]


def _rng_names(count: int) -> list[str]:
    return ["rng_state.pth"] if count == 1 else [f"rng_state_{rank}.pth" for rank in range(count)]


def _read_rng(folder: Path, state: CheckpointState, ours: bool) -> None:
    try:
        state.rng = [read_torch(path) for path in rng_files(folder)]
    except ValueError:
        if ours:
            raise
        state.notes.append(
            f"The random generators start anew: {folder} was written by transformers, whose rng_state.pth holds numpy "
            "objects that only unpickling would restore."
        )


def _exists(path: Path) -> bool:
    """True also for a broken link, so that it is reported and not passed over."""
    return os.path.lexists(path)


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {value!r:.80}: go on from another checkpoint")
    return value


def _optional(path: Path) -> dict[str, Any] | None:
    if not _exists(path):
        return None
    value = read_torch(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a state_dict, found {type(value).__name__}: go on from another checkpoint")
    return value
