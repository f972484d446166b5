"""The only Lightning callback of the facade: it turns Lightning's hooks into the events of `TrainerCallback`, and acts.

Hooks, events, and what happens where::

    on_train_start            (rehearsal.py); on_train_begin; evaluate where eval_on_start asks for it
      on_train_epoch_start    on_epoch_begin
        on_train_batch_start  on_step_begin
          (module.py)         on_substep_end ..., on_pre_optimizer_step, on_optimizer_step
        on_train_batch_end    on_step_end; act
      on_train_epoch_end      on_epoch_end; act
    act                       log (on_log), evaluate (on_evaluate), save (on_save), stop: whoever set the flag

Lightning's own logging, evaluation schedule and checkpoints are switched off: they count batches, refuse manual
optimization, or write with pickle.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any, Protocol

import lightning.pytorch as pl
import torch

from lt_trainer import machine, private
from lt_trainer.checkpoint.rng import generators, set_generators, set_rng_state
from lt_trainer.data.loaders import BatchWindows
from lt_trainer.interrupts import GRACEFUL
from lt_trainer.module import StepModule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lt_trainer.checkpoint.format import CheckpointState
    from lt_trainer.data.order import WindowSampler
    from lt_trainer.drivers import Driver
    from lt_trainer.interrupts import StopSignals
    from lt_trainer.state import TrainerControl, TrainerState


logger = logging.getLogger(__name__)


class Facade(Protocol):
    """What the bridge asks of the `Trainer`."""

    state: TrainerState
    control: TrainerControl
    beside: Mapping[str, float]

    def fire(self, event: str) -> None:
        """Calls the event of every callback."""

    def log(self, logs: dict[str, float]) -> None:
        """Adds an entry to `log_history` and reports it."""

    def token_speed(self) -> dict[str, float]:
        """What is logged of the speed beside the loss."""

    def evaluate(self) -> dict[str, float]:
        """Evaluates."""

    def evaluate_and_rank(self) -> bool:
        """Evaluates; whether it was the best so far."""

    def save_checkpoint(self, *, is_best: bool) -> None:
        """Saves the state of this step."""

    def save_best(self) -> None:
        """Keeps the weights of this step where no checkpoint is due."""

    def announce_saved(self, finished: int, failed: int) -> None:
        """Fires `on_save` where a checkpoint has become durable."""


class Bridge(pl.Callback):
    """Bridges Lightning's hooks to a facade.

    In each step all processes add up four votes (`StepHooks.votes`): how many were sent SIGTERM, and SIGINT, and how
    many saves process 0 has finished, and failed. So they act together, without a message of their own.

    Args:
        facade: receives events and requests.
        sampler: tells which share of an epoch is done.
        signals: SIGTERM and SIGINT.
        saves: `save_strategy`.
        keeps_best: the best weights are kept even where no checkpoint is due.
        evaluates_first: `eval_on_start`.
        empties_cache: optimizer steps after which the memory that the GPU's allocator keeps is given back; None: never.
        filters_nan: losses that are not finite stay out of the logged mean, as in `transformers`.
        rehearse: raises where an evaluation is going to fail.
    """

    def __init__(
        self,
        facade: Facade,
        sampler: WindowSampler | BatchWindows,
        signals: StopSignals,
        *,
        saves: str,
        keeps_best: bool,
        evaluates_first: bool,
        filters_nan: bool = False,
        empties_cache: int | None = None,
        rehearse: Callable[[], None] = lambda: None,
    ) -> None:
        self.facade, self.sampler, self.signals = facade, sampler, signals
        self.rehearse, self.filters_nan, self.empties_cache = rehearse, filters_nan, empties_cache
        self.saves, self.keeps_best, self.evaluates_first = saves, keeps_best, evaluates_first
        self.total_loss = 0.0  # of all steps that were logged
        self._loss: torch.Tensor | None = None  # of the steps since the last log, on the device
        self._last_logged = self._last_saved = 0
        self._epoch = self._steps_in_epoch = self._steps_before = 0
        self._clipped: torch.Tensor | float = 0.0  # steps since the last log whose gradients were clipped
        self._plain: torch.Tensor | None = None  # this rank's losses without smoothing since the last log
        self._flos = 0  # since the last log or save
        self._stopped = False  # by a signal: nothing but the save of the step follows
        self._rng: dict[str, Any] | None = None
        self._rng_before: dict[str, Any] | None = None  # the step that is running
        self.skipped_steps = 0  # by `on_nan`
        self._skipped_loss: torch.Tensor | None = None  # of a step since the last log

    # ---- Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning when all is set up."""
        self.signals.install()
        self.rehearse()
        self.facade.fire("on_train_begin")
        if self.evaluates_first and self.facade.state.global_step == 0:
            self.facade.evaluate()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning before the first window of an epoch."""
        self._epoch, self._steps_in_epoch, self._steps_before = trainer.current_epoch, self._steps_before, 0
        self.facade.fire("on_epoch_begin")
        if self._rng is not None:  # last, so that nothing before the first window draws from it
            set_rng_state(self._rng)
            self._rng = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning before an optimizer step."""
        assert isinstance(pl_module, StepModule)
        if pl_module.hooks.on_nan == "stop":
            self._rng_before = generators()
        self.facade.fire("on_step_begin")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning after an optimizer step: the state moves on, and the bridge acts."""
        assert isinstance(pl_module, StepModule)
        self._add_loss(pl_module, outputs["loss"])
        self._steps_in_epoch += 1
        state = self.facade.state
        state.global_step = trainer.global_step
        state.num_input_tokens_seen += pl_module.num_tokens
        self._flos += pl_module.num_flos
        if self.empties_cache and state.global_step % self.empties_cache == 0:
            machine.empty_cache()
        state.epoch = self._epoch + self.sampler.share_done(self._steps_in_epoch)
        terminated, interrupted, finished, failed = pl_module.votes.tolist()
        self.facade.announce_saved(finished, failed)
        self.facade.fire("on_step_end")
        self._act(trainer, pl_module)
        if terminated or interrupted:
            self._stop(trainer, GRACEFUL[0] if terminated else GRACEFUL[1])
        if self.facade.control.should_epoch_stop:
            private.end_epoch(trainer)

    def _add_loss(self, module: StepModule, loss: torch.Tensor) -> None:
        """A skipped step's loss is logged and enters no mean; one that is to be filtered counts as the mean so far."""
        outcome = module.outcome
        assert outcome is not None
        if outcome.grad_norm is not None and module.max_grad_norm:
            self._clipped = self._clipped + (outcome.grad_norm > module.max_grad_norm)
        if outcome.plain_loss is not None:
            self._plain = outcome.plain_loss if self._plain is None else self._plain + outcome.plain_loss
        before = torch.zeros_like(loss) if self._loss is None else self._loss
        if outcome.skipped:
            self.skipped_steps += 1
            self._skipped_loss, loss = loss, torch.zeros_like(loss)
        elif self.filters_nan:
            steps = 1 + self.facade.state.global_step - self._last_logged
            loss = torch.where(torch.isfinite(loss), loss, before / steps)
        self._loss = before + loss

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning after the last window of an epoch."""
        assert isinstance(pl_module, StepModule)
        if self._stopped:  # the epoch goes on in the run that resumes
            return
        if isinstance(self.sampler, BatchWindows) and self.sampler.ran_dry:
            done, wanted = self.facade.state.global_step, self.facade.state.max_steps
            logger.warning("the training data gave no more rows: step %d of %d is the last", done, wanted)
            self.facade.control.should_training_stop = True
        self.facade.fire("on_epoch_end")
        self._act(trainer, pl_module)

    # ---- what control asks for

    def _act(self, trainer: pl.Trainer, module: StepModule) -> None:
        if self.facade.control.should_log:
            self._log(module)
        is_best = False
        if self.facade.control.should_evaluate:
            is_best = self.facade.evaluate_and_rank()
            if self.saves == "best":
                self.facade.control.should_save = is_best
        if self.facade.control.should_save:
            # `on_save`, which resets it, comes when the folder is there: perhaps later, or never
            self.facade.control.should_save = False
            self._last_saved = self.facade.state.global_step
            self.facade.save_checkpoint(is_best=is_best)
        elif is_best and self.keeps_best:
            self.facade.save_best()
        if self.facade.control.should_training_stop:
            private.end_training(trainer)

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        """A signal came to one of the processes: this step's state is saved, unless nothing is ever saved."""
        self._stopped, self.signals.received = True, number
        if self.saves != "no" and self._last_saved != self.facade.state.global_step:
            self.facade.save_checkpoint(is_best=False)
        step, name = self.facade.state.global_step, signal.Signals(number).name
        logger.warning("%s: step %d was finished; resume_from_checkpoint=True goes on from the last save", name, step)
        private.end_training(trainer)

    def _log(self, module: StepModule) -> None:
        steps = self.facade.state.global_step - self._last_logged
        if not steps:
            return
        loss = self.flush(module)
        outcome = module.outcome
        assert outcome is not None
        logs = {"loss": loss / steps if self._skipped_loss is None else float("nan")}
        self._skipped_loss = None
        if outcome.grad_norm is not None:
            logs["grad_norm"] = float(outcome.grad_norm)
        logs["learning_rate"] = outcome.learning_rate
        self._last_logged = self.facade.state.global_step
        self.store_flos()
        self.facade.beside = self._beside(module, steps)
        try:
            self.facade.log(logs | self.facade.token_speed())
        finally:
            self.facade.beside = {}

    def _beside(self, module: StepModule, steps: int) -> dict[str, float]:
        """What `transformers` does not log, for metrics.jsonl and the loggers; numbers are of the steps since the last.

        `clipped_share` is of steps, `skipped_steps` counts from the beginning of the run.
        """
        assert module.driver is not None
        found = {"skipped_steps": self.skipped_steps, "clipped_share": float(self._clipped) / steps}
        if self._plain is not None:
            found["unsmoothed_loss"] = float(module.driver.sum(self._plain)) / steps
        self._clipped, self._plain = 0.0, None
        return found

    def store_flos(self) -> None:
        """Adds the operations since the last log or save to `state.total_flos`."""
        self.facade.state.total_flos += float(self._flos)
        self._flos = 0

    def flush(self, module: StepModule) -> float:
        """The losses of the steps since the last log, added up over all ranks; they go into `total_loss`."""
        if self._loss is None:
            return 0.0
        assert module.driver is not None
        loss = float(module.driver.sum(self._loss))
        self._loss = None
        self.total_loss += loss
        return loss

    # ---- going on later

    def begin_with_the_first_row(self) -> int:
        """Begins the epoch that a run goes on in with its first row again; returns the steps that are left out: 0."""
        self._steps_before = 0
        return 0

    @property
    def is_saved(self) -> bool:
        """Whether the state of this step is in a checkpoint."""
        return self._last_saved == self.facade.state.global_step

    def back_to_step_begin(self) -> None:
        """Puts the random state back to where the step began that is running."""
        if self._rng_before is not None:
            set_generators(self._rng_before)

    def progress(self, driver: Driver) -> dict[str, Any]:
        """Where the run is, as JSON: what global_step alone does not tell."""
        return {
            "epoch": self._epoch,
            "steps_in_epoch": self._steps_in_epoch,
            "epoch_ended": self.facade.control.should_epoch_stop,
            "total_loss": self.total_loss,
            "last_logged": self._last_logged,
            "skipped_steps": self.skipped_steps,
            "losses": driver.gather(None if self._loss is None else float(self._loss)),
            "clipped": float(self._clipped),
            "plain": driver.gather(None if self._plain is None else float(self._plain)),
        }

    def restore(self, saved: CheckpointState, state: TrainerState, steps_per_epoch: int, rank: int) -> tuple[int, int]:
        """Takes up a saved run.

        Returns:
            The epoch to begin in, and how many of its steps were done.
        """
        history = [entry for entry in state.log_history if "loss" in entry]
        steps = [0, *(entry["step"] for entry in history)]
        progress = {  # a folder of `transformers` has none: all but the losses since the last log follows
            "epoch": state.global_step // steps_per_epoch,
            "steps_in_epoch": state.global_step % steps_per_epoch,
            "total_loss": sum(e["loss"] * (e["step"] - before) for e, before in zip(history, steps, strict=False)),
            "last_logged": state.global_step,
            "losses": [],
            "epoch_ended": False,
            **saved.side.get("progress", {}),
        }
        self.total_loss, self._last_logged = progress["total_loss"], progress["last_logged"]
        self._last_saved, self.skipped_steps = state.global_step, progress.get("skipped_steps", 0)
        self._clipped = progress.get("clipped", 0.0)
        plain = [loss for loss in progress.get("plain", ()) if loss is not None]
        self._plain = torch.tensor(sum(plain) if rank == 0 else 0.0) if plain else None
        losses = [loss for loss in progress["losses"] if loss is not None]
        if losses and len(losses) != self.sampler.world_size:  # another number of processes: the sum is what counts
            losses = [sum(losses)]
        if rank < len(losses):
            self._loss = torch.tensor(losses[rank])
        if saved.rng:
            self._rng = saved.rng[rank % len(saved.rng)]
        self._epoch, self._steps_before = progress["epoch"], progress["steps_in_epoch"]
        if progress["epoch_ended"] or self._steps_before >= steps_per_epoch:
            self._epoch, self._steps_before = self._epoch + 1, 0
        return self._epoch, self._steps_before
