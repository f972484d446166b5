"""Every private name of Lightning that this project uses, in one place.

`tests/test_private.py` is pinned to the version that these were read in (2.6.6): where a later one moves
something, that test fails and this is the only file to mend.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

NEVER = 10**9


def run_validation(trainer: pl.Trainer, loader: Any) -> None:
    """Runs Lightning's own validation loop now, in the middle of `fit`, over any loader.

    Lightning's scheduling counts batches and cannot validate at the steps that were asked for; its loop can be
    entered at any batch's end, as lightning/pytorch/loops/training_epoch_loop.py::on_advance_end does.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    if loop._data_source.instance is not loader:
        loop._data_source.instance = loader
        loop._combined_loader = None
    first_iteration = trainer._logger_connector._first_loop_iter
    trainer.validating = True
    try:
        loop.run()
    finally:
        trainer.training = True
        trainer._logger_connector._first_loop_iter = first_iteration


def end_epoch(trainer: pl.Trainer) -> None:
    """Makes the current batch the last one of its epoch."""
    trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = True


def end_training(trainer: pl.Trainer) -> None:
    """Ends `fit` after this batch, the way that `max_steps` does: `should_stop` would validate once more first."""
    trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


def go_on_from(trainer: pl.Trainer, *, epoch: int, global_step: int) -> None:
    """Makes `fit` begin in a later epoch, after as many optimizer steps: all of its progress follows from the two."""
    loop = trainer.fit_loop
    for progress in (loop.epoch_progress.current, loop.epoch_progress.total):
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress, name, epoch)
    steps = loop.epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = global_step


def nobody_sees_backward(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Whether Lightning's way to `loss.backward()` leads through nothing but empty hooks, which take 0.1 ms a time."""
    hooks = ("on_before_backward", "on_after_backward")
    watched = [getattr(type(c), hook) is not getattr(pl.Callback, hook) for c in trainer.callbacks for hook in hooks]  # type: ignore[attr-defined]
    watched += [getattr(type(module), hook) is not getattr(pl.LightningModule, hook) for hook in (*hooks, "backward")]
    plain = type(trainer.precision_plugin) in (Precision, MixedPrecision)
    alone = plain and type(trainer.strategy) is SingleDeviceStrategy
    return alone and not any(watched)


def precision_of(strategy: Strategy) -> Precision | None:
    """The precision plugin that a strategy was made with; its public name makes one where there is none."""
    return strategy._precision_plugin


def start_method(strategy: Strategy) -> str:
    """How a strategy starts processes: "popen" runs the script again, others copy the one that runs."""
    return str(vars(strategy).get("_start_method", "popen"))


def unscales_itself(optimizer: Optimizer) -> bool:
    """Whether Lightning leaves it to an optimizer to unscale the gradients of fp16, inside its step: a fused one."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


class OwnTransfer(pl.LightningModule):
    """A module that brings a batch to its device itself.

    Lightning's three public hooks for it warn wherever there is a DataModule too, and cost a dispatch each in a step.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the name of each hook on the module, twenty times a step: past the search for submodules."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def prepare(self, batch: Any, device: torch.device) -> Any:
        """Brings a batch to the device, in the form that the steps take."""
        raise NotImplementedError(f"{type(self).__name__} has no prepare(): return the batch on the device")

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        return self.prepare(batch, self.device if device is None else device)


class _Actionable(logging.Filter):
    """Drops the notices about devices, tips and the end of a run: the facade says what counts."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO


_ACTIONABLE = _Actionable()
_MISLEADING = (
    ".*does not have many workers.*",  # the arguments decide
    ".*have no `val_dataloader`.*",  # evaluation enters its loop by itself
    ".*isinstance\\(treespec, LeafSpec\\).*",  # of torch, about Lightning's own code
)


def quiet() -> None:
    """Leaves of Lightning's messages those that a user of the facade can act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_ACTIONABLE)  # adding it twice adds it once
    for message in _MISLEADING:
        warnings.filterwarnings("ignore", message=message)
