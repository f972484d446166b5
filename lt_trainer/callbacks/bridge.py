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
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from lt_trainer import machine, private
from lt_trainer.callbacks.tally import Tally
from lt_trainer.checkpoint.rng import generators, set_generators, set_rng_state
from lt_trainer.data.loaders import BatchWindows
from lt_trainer.interrupts import GRACEFUL
from lt_trainer.module import StepModule

if TYPE_CHECKING:
    from lt_trainer.checkpoint.format import CheckpointState
    from lt_trainer.drivers import Driver
    from lt_trainer.engine import TrainingEngine
    from lt_trainer.state import TrainerState

logger = logging.getLogger(__name__)


class Bridge(pl.Callback):
    """Bridges Lightning's hooks to a facade.

    In each step all processes add up four votes (`StepHooks.votes`): how many were sent SIGTERM, and SIGINT, and how
    many saves process 0 has finished, and failed. So they act together, without a message of their own.

    Args:
        engine: the run; its facade receives the events.
    """

    def __init__(self, engine: TrainingEngine) -> None:
        self.engine, self.facade = engine, engine.facade
        args, self.save_strategy = self.facade.args, engine.plan.cadence.saving.kind
        self.tally = Tally(filters_nan=args.on_nan == "ignore" and args.logging_nan_inf_filter)
        self._last_saved = 0
        self._epoch = self._steps_in_epoch = self._steps_before = 0
        self._flos = 0  # since the last log or save
        self._stopped = False  # by a signal: nothing but the save of the step follows
        self._rng: dict[str, Any] | None = None
        self._rng_before: dict[str, Any] | None = None  # the step that is running

    # ---- Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning when all is set up."""
        self.engine.signals.install()
        self.engine.rehearse()
        self.facade.fire("on_train_begin")
        if self.engine.plan.cadence.eval_on_start and self.facade.state.global_step == 0:
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
        state, empties = self.facade.state, self.facade.args.torch_empty_cache_steps
        state.global_step = trainer.global_step
        self.tally.add(pl_module, outputs["loss"], state.global_step)
        self._steps_in_epoch += 1
        state.num_input_tokens_seen += pl_module.num_tokens
        self._flos += pl_module.num_flos
        if empties and state.global_step % empties == 0:
            machine.empty_cache()
        state.epoch = self._epoch + self.engine.sampler.share_done(self._steps_in_epoch)
        terminated, interrupted, finished, failed = pl_module.votes.tolist()
        self.engine.saves.announce(finished, failed)
        self.facade.fire("on_step_end")
        self._act(trainer, pl_module)
        if terminated or interrupted:
            self._stop(trainer, GRACEFUL[0] if terminated else GRACEFUL[1])
        if self.facade.control.should_epoch_stop:
            private.end_epoch(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning after the last window of an epoch."""
        assert isinstance(pl_module, StepModule)
        if self._stopped:  # the epoch goes on in the run that resumes
            return
        if isinstance(self.engine.sampler, BatchWindows) and self.engine.sampler.ran_dry:
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
            if self.save_strategy == "best":
                self.facade.control.should_save = is_best
        if self.facade.control.should_save:
            # `on_save`, which resets it, comes when the folder is there: perhaps later, or never
            self.facade.control.should_save = False
            self._last_saved = self.facade.state.global_step
            self.engine.saves.save(is_best=is_best)
        elif is_best and self.engine.plan.saving.load_best:
            self.engine.saves.save_best()
        if self.facade.control.should_training_stop:
            private.end_training(trainer)

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        """A signal came to one of the processes: this step's state is saved, unless nothing is ever saved."""
        self._stopped = True
        self.engine.signals.received = number
        if self.save_strategy != "no" and not self.is_saved:
            self.engine.saves.save(is_best=False)
        step, name = self.facade.state.global_step, signal.Signals(number).name
        logger.warning("%s: step %d was finished; resume_from_checkpoint=True goes on from the last save", name, step)
        private.end_training(trainer)

    def _log(self, module: StepModule) -> None:
        step = self.facade.state.global_step
        if step == self.tally.last_logged:
            return
        self.store_flos()
        logs, self.facade.beside = self.tally.read(module, step)
        try:
            self.facade.log(logs | self.facade.token_speed())
        finally:
            self.facade.beside = {}

    def store_flos(self) -> None:
        """Adds the operations since the last log or save to `state.total_flos`."""
        self.facade.state.total_flos += float(self._flos)
        self._flos = 0

    # ---- going on later

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
            **self.tally.progress(driver),
        }

    def restore(self, saved: CheckpointState, state: TrainerState, steps_per_epoch: int, rank: int) -> tuple[int, int]:
        """Takes up a saved run.

        Returns:
            The epoch to begin in, and how many of its steps are left out, since they were done.
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
        self._last_saved = state.global_step
        self.tally.restore(progress, rank=rank, world_size=self.engine.sampler.world_size)
        if saved.rng:
            self._rng = saved.rng[rank % len(saved.rng)]
        self._epoch, self._steps_before = progress["epoch"], progress["steps_in_epoch"]
        if progress["epoch_ended"] or self._steps_before >= steps_per_epoch:
            self._epoch, self._steps_before = self._epoch + 1, 0
        if self.facade.args.ignore_data_skip:
            self._steps_before = 0
        return self._epoch, self._steps_before
