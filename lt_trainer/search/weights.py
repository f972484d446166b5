"""The models of trials: freed, loaded, and removed where they were beaten."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.checkpoint.find import list_checkpoints, newest_valid
from lt_trainer.checkpoint.format import CONFIG
from lt_trainer.checkpoint.saver import BEST, load_whole
from lt_trainer.files import remove_folder, update_folder
from lt_trainer.files.folders import WEIGHTS
from lt_trainer.machine import empty_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Best:
    """The best trial, or one of them; `name` is that of its folder."""

    number: int
    objective: float | list[float]
    params: Mapping[str, Any]
    name: str


def release(facade: Trainer) -> None:
    """Frees the model and all that holds it, so that two are never in memory."""
    handler = facade.callback_handler
    facade.model = handler.model = None  # type: ignore[assignment]
    if facade.task is not None:
        facade.task.model = None  # type: ignore[assignment]
    facade.optimizer = facade.lr_scheduler = handler.optimizer = handler.lr_scheduler = None
    handler.train_dataloader = handler.eval_dataloader = None
    facade.loaders, facade._evaluator = {}, None
    gc.collect()  # Lightning's objects know each other
    empty_cache()


def load_best(facade: Trainer, best: Best) -> None:
    """Gives the trainer the model of the best trial, as it was saved."""
    import optuna

    release(facade)
    folder = Path(str(facade.args.output_dir)) / best.name
    model = facade.call_model_init(optuna.trial.FixedTrial(dict(best.params), best.number))
    facade.take_model(model)
    try:
        load_whole(model, folder)
    except (OSError, ValueError) as error:
        logger.warning("the best trial's model is not in %s, the trainer has an untrained one: %s", folder, error)


def discard_weights(folder: Path) -> None:
    """Removes checkpoints and model of a trial that was beaten; logs and trainer_state.json stay."""
    if not folder.is_dir():
        return
    try:
        for path in (*list_checkpoints(folder), folder / BEST):
            if path.is_dir():
                remove_folder(path)
        names = [path.name for path in folder.iterdir() if WEIGHTS.fullmatch(path.name) or path.name == CONFIG]
        if names:
            with update_folder(folder) as files:
                for name in names:
                    files.remove(name)
    except FileNotFoundError:  # another process of the search was faster
        return
    except OSError as error:
        logger.warning("the weights in %s, of a trial that was beaten, could not be removed: %s", folder, error)


def newest_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a trial; None where there is none."""
    if not list_checkpoints(folder):
        return None
    try:
        return str(newest_valid(folder)[0])
    except FileNotFoundError:
        return None
