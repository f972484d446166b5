"""When a checkpoint is written, which model is the best, and what is kept.

Two named things, kept apart: the last checkpoints, to go on from (`save_total_limit` counts these), and the best model.
Where an evaluation is the best and no checkpoint is due, its weights go to `best/`
(https://github.com/huggingface/transformers/issues/35070).
"""

from __future__ import annotations

import copy
import logging
import math
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import MissingMetricError
from lt_trainer.checkpoint.find import damage, list_checkpoints, newest_valid, rotate, unresumable
from lt_trainer.checkpoint.format import (
    OPTIMIZER,
    SCALER,
    SCHEDULER,
    SIDE,
    TRAINER_STATE,
    CheckpointState,
    write_checkpoint,
    write_model,
)
from lt_trainer.files import (
    MANIFEST,
    AtomicFolder,
    FolderLock,
    clean_staging,
    ensure_writable,
    make_folder,
    staging_folder,
    update_folder,
)
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.loading import WeightIndex, load_into
from lt_trainer.tokenization import PreTrainedTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import nn

    from lt_trainer.args.plan import Saving
    from lt_trainer.drivers import Driver
    from lt_trainer.state import TrainerState

logger = logging.getLogger(__name__)

BEST = "best"
RESERVED = re.compile(
    "|".join(map(re.escape, (OPTIMIZER, SCHEDULER, SCALER, TRAINER_STATE, SIDE, MANIFEST))) + r"|rng_state(_\d+)?\.pth"
)
"""Files of a checkpoint that no trainer's own `save_model` writes."""


class Saver:
    """Decides and writes for one run.

    Args:
        output_dir: of the run.
        saving: the plan's part.
        is_writer: process 0 writes, all know where.
        saves: whether checkpoints are written, so that the best can be one.
    """

    def __init__(self, output_dir: str, saving: Saving, *, is_writer: bool = True, saves: bool = True) -> None:
        self.output_dir, self.saving, self.is_writer = Path(output_dir), saving, is_writer
        self.saves = saves
        self._lock = FolderLock(self.output_dir)
        self._best_before: str | None = None

    def prepare(self, save_bytes: int) -> None:
        """Before the first step: the folder is this run's alone until `release`, can be written and has room.

        What dead processes left half-done in it is removed.

        Args:
            save_bytes: an estimate of what a checkpoint takes.

        Raises:
            OSError: it is in use, cannot be written, or has no room for the checkpoints that are kept and one more.
        """
        if self.is_writer:
            ensure_writable(self.output_dir)
            self._lock.acquire()
            clean_staging(self.output_dir)
            missing = (self.saving.total_limit or 0) + 1 - len(list_checkpoints(self.output_dir))
            ensure_writable(self.output_dir, need_bytes=save_bytes * max(1, missing))

    def release(self) -> None:
        """After the last step: the folder is free for others."""
        self._lock.release()

    def rank(self, metrics: Mapping[str, float], state: TrainerState) -> bool:
        """Whether an evaluation was the best so far; NaN never is, and of equals the first stays.

        Raises:
            MissingMetricError: `metric_for_best_model` is not among the metrics (lists them).
        """
        name = self.saving.metric_for_best
        if name is None:
            return False
        value, greater = self.metric(metrics, name), self.saving.greater_is_better
        best = state.best_metric if state.best_metric is not None else (-math.inf if greater else math.inf)
        if not (value > best if greater else value < best):
            return False
        state.best_metric = value
        if self.saves:
            state.best_global_step = state.global_step
        return True

    @staticmethod
    def metric(metrics: Mapping[str, float], name: str) -> float:
        """A metric by its name.

        Raises:
            MissingMetricError: it is not among them (lists them).
        """
        if name not in metrics:
            raise MissingMetricError(name, metrics)
        return metrics[name]

    def locate(self, resume: str | bool) -> Path:
        """The checkpoint to go on from; says which newer ones were passed over and why.

        Args:
            resume: True takes the newest that verifies, a path that one.

        Raises:
            FileNotFoundError: none (lists what is there), or the path is no folder.
            ValueError: the one that was named is damaged, or holds weights alone.
        """
        if resume is True:
            folder, passed_over = newest_valid(self.output_dir)
            for path, why in passed_over:
                logger.warning("%s is passed over: %s", path, why)
            return folder
        folder = Path(str(resume))
        if not folder.is_dir():
            names = [path.name for path in list_checkpoints(self.output_dir)]
            raise FileNotFoundError(
                f"resume_from_checkpoint={str(resume)!r}: expected a folder checkpoint-<step> or True, found no such "
                f"folder; in {self.output_dir} there are {names or 'none'}"
            )
        if (reason := unresumable(folder)) is not None:
            raise ValueError(
                f"resume_from_checkpoint={str(resume)!r}: {reason}. "
                "Name another checkpoint, or True for the newest that verifies"
            )
        return folder

    def begin(self, state: TrainerState, *, is_best: bool) -> TrainerState:
        """Names this step's checkpoint as the best where it is, and returns the state as it is saved."""
        if is_best:
            self._best_before, state.best_model_checkpoint = state.best_model_checkpoint, str(self._path(state))
        callbacks = copy.deepcopy(state.stateful_callbacks)  # theirs, and written while training goes on
        return replace(state, log_history=list(state.log_history), stateful_callbacks=callbacks)

    def write(self, contents: CheckpointState, state: TrainerState) -> None:
        """Writes `checkpoint-<step>`, whole or not at all, and then removes what the limit does not keep.

        Args:
            contents: everything but `trainer_state`.
            state: what `begin` returned.
        """
        path = self._path(state)
        contents.trainer_state = asdict(state)
        with AtomicFolder(path) as folder:
            write_checkpoint(folder, contents)
        keep = [path, *([Path(state.best_model_checkpoint)] if state.best_model_checkpoint else [])]
        try:
            rotate(self.output_dir, self.saving.total_limit, keep)
        except OSError as error:  # the new one is durable: nothing was lost but space
            logger.warning("an older checkpoint in %s could not be removed: %s", self.output_dir, error)

    def forget(self, lost: TrainerState, state: TrainerState) -> None:
        """A checkpoint could not be written: where it was to be the best, the best before is that again."""
        if state.best_model_checkpoint == str(self._path(lost)):
            state.best_model_checkpoint = self._best_before

    def begin_best(self, state: TrainerState) -> None:
        """Names `best/` as the best."""
        state.best_model_checkpoint = str(self.output_dir / BEST)

    def write_best(self, weights: Mapping[str, torch.Tensor], config: Any, extras: Mapping[str, bytes]) -> None:
        """Writes a model to `best/`, for `load_best_model_at_end`."""
        with AtomicFolder(self.output_dir / BEST) as folder:
            write_model(folder, weights, config, extras)

    def _path(self, state: TrainerState) -> Path:
        return self.output_dir / f"checkpoint-{state.global_step}"

    def finish(self, model: nn.Module, state: TrainerState) -> None:
        """Loads the best weights into the model where that was asked for."""
        if not self.saving.load_best:
            return
        if state.best_model_checkpoint is None:
            logger.warning("load_best_model_at_end: no evaluation had a best model, the last weights stay")
            return
        folder = Path(state.best_model_checkpoint)
        try:
            if (reason := damage(folder)) is not None:
                raise ValueError(reason)
            load_whole(model, folder)
        except (OSError, ValueError) as error:  # the run is done: its last weights are worth more than an error
            logger.error("load_best_model_at_end: %s cannot be loaded, the last weights stay: %s", folder, error)


def load_whole(model: nn.Module, folder: Path) -> None:
    """Loads weights of the very same model.

    Raises:
        ValueError: one is missing or has another shape: what is not in the folder would keep its values unnoticed.
    """
    report = load_into(model, WeightIndex(folder))
    if report.missing:
        raise ValueError(
            f"{folder}: {len(report.missing)} weights of the model are not in it, such as {report.missing[0]}: "
            "expected a checkpoint of the same model"
        )


def save_model(
    folder: Path, model: nn.Module, processing_class: Any, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Writes a model and its tokenizer into a folder that may hold other things, each file whole or not at all.

    Args:
        folder: made where it is missing.
        model: whole.
        processing_class: its tokenizer, or None.
        weights: written in place of the model's.
    """
    own, config = model_parts(model)
    extras = {**files_beside(model), **tokenizer_files(processing_class)}
    with update_folder(folder) as writer:
        write_model(writer, own if weights is None else weights, config, extras)


def files_written_by(save: Callable[[str], None], place: Path, driver: Driver) -> dict[str, bytes]:
    """What a trainer's own way to save a model writes, by names: files of the checkpoint, made durable with it.

    Every process calls it together. `save` gets an empty folder with the checkpoint's name, in a place that is gone
    afterwards; the files are held in memory until they are written. Those that make a checkpoint one, such as the
    optimizer's, are written by this package alone and left out here.

    Args:
        save: takes the folder.
        place: of the checkpoint.
        driver: of the run.

    Returns:
        name -> content; nothing on other processes than the first.
    """
    with staging_folder(place) as own:
        folder = Path(driver.gather(str(make_folder(own / place.name)))[0])
        save(str(folder))
        driver.gather(None)  # all have written
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if driver.rank == 0 else []
        names = {path.relative_to(folder).as_posix(): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not RESERVED.fullmatch(name)}


def files_beside(model: nn.Module) -> dict[str, bytes]:
    """Further files of a model's folder (generation_config.json): names to contents."""
    if isinstance(model, PreTrainedModel):
        return model.files_beside()
    settings = getattr(model, "generation_config", None) if _is_foreign(model) else None
    return {} if settings is None else {"generation_config.json": settings.to_json_string().encode()}


def _is_foreign(model: nn.Module) -> bool:
    return any(base.__module__.startswith("transformers.") for base in type(model).__mro__)


def model_parts(model: nn.Module) -> tuple[Mapping[str, torch.Tensor], dict[str, Any] | None]:
    """The weights of a model, one name for tied ones, and its configuration where it has one."""
    if isinstance(model, PreTrainedModel):
        return model.weights_to_save(), model.config_to_save()
    if _is_foreign(model):
        config = {**model.config.to_dict(), "architectures": [type(model).__name__]}  # type: ignore[union-attr,operator]
        return unique_weights(model), config
    return unique_weights(model), None


def tokenizer_files(processing_class: Any) -> dict[str, bytes]:
    """The files of a tokenizer: names to contents; of another library's through its own `save_pretrained`."""
    if processing_class is None:
        return {}
    if isinstance(processing_class, PreTrainedTokenizer):
        return processing_class.to_files()
    with tempfile.TemporaryDirectory() as folder:
        processing_class.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def unique_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state of a model with one name for each tensor that several names share."""
    seen: set[tuple[int, int, torch.Size]] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        identity = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape)
        if tensor.numel() == 0 or identity not in seen:
            unique[name] = tensor
            seen.add(identity)
    return unique
