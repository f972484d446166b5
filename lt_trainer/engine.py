"""One run: the Lightning objects of a plan, and what the facade asks of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from torch import distributed

from lt_trainer import brought, build, loaders, private, rehearsal, scoring, user_steps
from lt_trainer.agreement import agree, signature
from lt_trainer.args.plan import Plan, plan
from lt_trainer.callbacks.bridge import Bridge
from lt_trainer.checkpoint.format import CheckpointState, read_checkpoint
from lt_trainer.checkpoint.resume import check_optimizer, differences, read_state
from lt_trainer.checkpoint.saver import load_whole
from lt_trainer.data.checks import check_batch
from lt_trainer.data.loaders import BatchLoader, BatchWindows, DealtWindows, length_of
from lt_trainer.data.windows import Passes
from lt_trainer.evaluation import Evaluation, weights_as
from lt_trainer.hooks import StepHooks
from lt_trainer.interrupts import GRACEFUL, StopSignals
from lt_trainer.launchers import check_port
from lt_trainer.machine import global_rank, set_tf32
from lt_trainer.module import StepModule
from lt_trainer.neftune import noisy_embeddings
from lt_trainer.optim import Watcher, optimizer_class
from lt_trainer.overrides import is_overridden, makes_optimizer
from lt_trainer.saves import Saves
from lt_trainer.state import TrainerState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from lt_trainer.data.windows import Batch
    from lt_trainer.drivers import Driver
    from lt_trainer.trainer import Trainer

logger = logging.getLogger(__name__)

PASS_ROWS = 64  # of an evaluation that come to the module together


class Engine:
    """The Lightning objects of one run.

    Args:
        facade: brings model, data and overrides.
        plan: the run, decided.
    """

    def __init__(self, facade: Trainer, plan: Plan) -> None:
        private.quiet()
        self.facade, self.plan, self.limits = facade, plan, loaders.limits_of(facade)
        self.flags = build.raw_flags(facade)
        self.module = StepModule(
            facade.model, optimizer=self._optimizers, max_grad_norm=plan.optimizer.max_grad_norm, hooks=self._hooks()
        )
        flags = brought.merge_flags(plan.trainer_flags, self.flags)
        flags = build.with_strategy(flags, plan, trains=isinstance(self, TrainingEngine))
        if facade.args.tf32 is not None and plan.hardware.accelerator == "cuda":
            set_tf32(facade.args.tf32)
        first = global_rank(plan.hardware.devices) == 0
        if plan.hardware.world_size > 1 and first and not distributed.is_initialized():
            check_port()
        self.lightning = pl.Trainer(**flags, default_root_dir=facade.args.output_dir)
        self.world_size = self.lightning.world_size
        brought.check_processes(plan, self.world_size)

    @property
    def driver(self) -> Driver:
        """Of the strategy, once Lightning has set it up."""
        assert self.module.driver is not None
        return self.module.driver

    def run(self, batches: Any, evaluation: Evaluation) -> None:
        """One pass over a loader of batches, in the middle of training or by itself: `evaluation` takes them in."""
        loader, _ = loaders.windows_of(batches, self.plan.loader, training=False)
        if self.world_size > 1 and isinstance(loader, BatchWindows):
            loader = DealtWindows(loader, self.lightning.global_rank, self.world_size)
        passes = Passes(loader, max(1, PASS_ROWS // self.plan.loader.eval_batch_size) if self.module.packs else 1)
        self.facade.callback_handler.eval_dataloader = batches
        self.module.evaluation = evaluation
        if self.lightning.training:
            self.module.set_optimizer_mode("eval")
            with self.driver.evaluating(self.facade.model):
                private.run_validation(self.lightning, passes)
        else:
            with weights_as(self.facade.model, build.evaluation_dtype(self.facade.args)):
                self.lightning.validate(self.module, dataloaders=passes, verbose=False)
        self.module.evaluation = Evaluation()

    def _hooks(self) -> StepHooks:
        facade = self.facade
        facade.criterion = build.criterion(facade)
        hooks = StepHooks(
            criterion=facade.criterion,
            compute_loss=user_steps.user_loss(facade),
            training_step=facade.training_step if is_overridden(facade, "training_step") else None,
            prediction_step=self._predict if is_overridden(facade, "prediction_step") else None,
            predict=facade.predictor(),
            fire=facade.fire,
            check_batch=partial(check_batch, limits=self.limits),
            on_nan=facade.args.on_nan,
            shrinks=facade.args.auto_find_batch_size,
            count_tokens=build.token_counter(facade),
            count_flos=facade.floating_point_ops,
        )
        names = facade.args.label_names
        return replace(hooks, label_names=tuple(names)) if names else hooks

    def _predict(self, model: nn.Module, batch: Batch, loss_only: bool) -> tuple[torch.Tensor | None, Any, Any]:
        ignored = list(self.module.evaluation.ignore_keys)
        return self.facade.prediction_step(model, batch, loss_only, ignore_keys=ignored)

    def _optimizers(self, model: nn.Module) -> Any:
        raise AssertionError("an engine that only evaluates makes no optimizer")


class TrainingEngine(Engine):
    """An engine that also trains, saves and goes on from what was saved.

    Args:
        facade: see Engine.
        plan: see Engine.
        batches: the loader of training batches.
    """

    def __init__(self, facade: Trainer, plan: Plan, batches: Any) -> None:
        super().__init__(facade, plan)
        self.batches = batches
        steps = plan.duration.max_steps
        self.loader, self.sampler = loaders.windows_of(batches, plan.loader, training=True, steps=steps)
        self.num_train_rows = facade.num_examples(batches)
        self.saves, self.signals = Saves(self), StopSignals()
        self.bridge = Bridge(self)
        self.lightning.callbacks.append(self.bridge)  # type: ignore[attr-defined]
        hooks = self.module.hooks
        hooks.votes, hooks.before_stop, hooks.agree = self._votes, self.saves.save_step_before, self._agree
        self._restored: tuple[CheckpointState, Path] | None = None

    def start(self, resume: str | bool | None) -> TrainerState:
        """The state to begin with; with `resume` the model, and later everything else, goes on from a checkpoint.

        Args:
            resume: True takes the newest checkpoint of `output_dir` that verifies, a path that one.

        Raises:
            FileNotFoundError: no checkpoint to go on from (lists what is there).
            ValueError: one that is damaged, or that another effective batch size was trained with.
        """
        duration, cadence = self.plan.duration, self.plan.cadence
        now = {
            "max_steps": duration.max_steps,
            "num_train_epochs": duration.max_epochs,
            "logging_steps": cadence.logging.steps,
            **({} if self.facade.args.eval_steps is None else {"eval_steps": cadence.evaluation.steps}),
            "save_steps": cadence.saving.steps,
            "train_batch_size": self.plan.loader.batch_size,
            "is_local_process_zero": self.lightning.local_rank == 0,
            "is_world_process_zero": self.lightning.global_rank == 0,
        }
        saver = self.saves.saver
        if str(resume).lower() == "true" and not saver.output_dir.is_dir():
            saver.locate(True)  # says that there is nothing, and makes no folder
        saver.prepare(self.saves.estimated_size())
        if str(resume).lower() in ("none", "false", ""):
            return TrainerState(**now)  # type: ignore[arg-type]
        folder = saver.locate(True if str(resume).lower() == "true" else str(resume))
        saved = read_checkpoint(folder)
        self._restored = saved, folder
        self._check_same_batches(saved, folder)
        self.module.most_rows = saved.side.get("micro_batch_rows") if self.facade.args.auto_find_batch_size else None
        for note in saved.notes:
            logger.warning(note)
        load_whole(self.facade.model, folder)
        state = read_state(saved.trainer_state, folder, now)
        epoch, steps = self.bridge.restore(saved, state, duration.steps_per_epoch, self.lightning.global_rank)
        private.go_on_from(self.lightning, epoch=epoch, global_step=state.global_step)
        self.sampler.epoch, self.sampler.start = epoch, steps
        self.facade.callback_handler.restore(state.stateful_callbacks or {})
        logger.warning("going on from %s, step %d of %d", folder, state.global_step, state.max_steps)
        return state

    def fit(self) -> None:
        """Hands the run to Lightning; returns when it has ended and everything is written.

        Raises:
            KeyboardInterrupt, SystemExit: a signal came to one of the processes; the step was finished and saved.
        """
        self.facade.callback_handler.train_dataloader = self.batches
        try:
            with self.signals, noisy_embeddings(self.facade.model, self.facade.args.neftune_noise_alpha):
                self.lightning.fit(self.module, train_dataloaders=self.loader)
                self.module.set_optimizer_mode("eval")
                self.saves.collect()
                self.driver.finish(self.facade.model)
        except SystemExit:  # Lightning's answer to KeyboardInterrupt
            self.signals.leave()
            raise
        self.signals.leave()

    def close(self) -> None:
        """Ends what is being written, and leaves the folder to others; also after an error."""
        if isinstance(self.batches, BatchLoader):
            self.batches.close()
        self.saves.close()

    def mean_loss(self) -> float:
        """The mean loss of a step, over all steps of the run but those skipped, also those before a resume."""
        tally = self.bridge.tally
        tally.flush(self.driver)
        return tally.total_loss / max(self.facade.state.global_step - tally.skipped_steps, 1)

    def rehearse(self) -> None:
        """Raises where an evaluation of this run is going to fail."""
        rehearsal.rehearse(self)

    def watch(self, metrics: Mapping[str, float]) -> None:
        """Steps a schedule that follows a metric of the evaluation; any other has stepped with the optimizer."""
        scheduler = self.facade.lr_scheduler
        if isinstance(scheduler, Watcher):
            scheduler.step(self.saves.saver.metric(metrics, self.plan.saving.metric_for_best or "eval_loss"))

    def order(self) -> dict[str, Any]:
        """All that decides which row comes when, beside the rows of a step."""
        loader = self.plan.loader
        return {"rows": self.num_train_rows, "seed": loader.seed, "drop_last": loader.drop_last}

    def _check_same_batches(self, saved: CheckpointState, folder: Path) -> None:
        before, now = saved.side.get("effective_batch_size"), self.plan.duration.effective_batch_size
        if before not in (None, now):
            raise ValueError(
                f"the checkpoint was trained with {before} rows a step and this run asks for {now}: expected the same, "
                "or rows would be seen twice; change per_device_train_batch_size or gradient_accumulation_steps"
            )
        if changed := differences(saved.side, self.order()):
            logger.warning(
                "%s was written with other rows, or in another order (%s): rows may be seen twice or not at all",
                *(folder, "; ".join(changed)),
            )

    def _optimizers(self, model: nn.Module) -> Any:
        facade, restored, self._restored = self.facade, self._restored, None
        facade.create_optimizer_and_scheduler(self.plan.duration.max_steps)
        optimizer, scheduler = facade.optimizer, facade.lr_scheduler
        if optimizer is None or scheduler is None:
            raise ValueError(
                f"{type(facade).__name__} made no optimizer or no schedule: expected create_optimizer_and_scheduler to "
                "set self.optimizer and self.lr_scheduler"
            )
        if restored is not None:
            saved, folder = restored
            if saved.optimizer is not None:
                check_optimizer(optimizer, saved.optimizer, folder)
                self.driver.load_optimizer(optimizer, saved.optimizer)
            if saved.scheduler is not None:
                scheduler.load_state_dict(saved.scheduler)
            if saved.scaler is not None:
                self.lightning.precision_plugin.load_state_dict(saved.scaler)
        facade.callback_handler.optimizer, facade.callback_handler.lr_scheduler = optimizer, scheduler
        return optimizer, scheduler

    def _agree(self, driver: Driver) -> None:
        """Code, data and arguments of all processes are the same, or nothing starts."""
        if driver.world_size > 1:
            agree(driver, signature(self.plan, self.facade.model, self.facade.train_dataset))

    def _votes(self) -> tuple[int, ...]:
        """What this process adds to the numbers that all processes sum up in a step: see `Bridge`."""
        signals = (int(self.signals.received == number) for number in GRACEFUL)
        return *signals, self.saves.writer.finished, self.saves.writer.failed


def training_engine(facade: Trainer) -> TrainingEngine:
    """Everything that can be checked is checked here, before a step is computed.

    Raises:
        ConfigurationError: the arguments, on this machine with this data.
        ValueError: no training data, or rows that the model cannot take.
        ImportError: the optimizer's package is not installed.
    """
    batches = facade.get_train_dataloader()
    if facade.args.eval_strategy != "no" and not is_overridden(facade, "get_eval_dataloader"):
        for name, _ in scoring.named_datasets(facade.eval_dataset):
            facade.get_eval_dataloader(name)  # which checks its rows
    own = isinstance(batches, BatchLoader)
    facts = brought.facts_of(facade, facade.num_examples(batches) if own else None, facade.eval_dataset is not None)
    if not own:
        facts = replace(facts, has_train=True, num_train_batches=length_of(batches))
    decided = plan(facade.args, facts)
    if facade.optimizer is None and facade.optimizer_cls_and_kwargs is None and not makes_optimizer(facade):
        optimizer_class(decided.optimizer.name)  # is its package there?
    build.prepare_model(facade, decided.sharding)
    return TrainingEngine(facade, decided, batches)


def evaluation_engine(facade: Trainer, before: Engine | None) -> Engine:
    """An engine that only evaluates; the one before goes on where nothing changed (Lightning's takes 40 ms)."""
    decided, flags = plan(facade.args, brought.facts_of(facade, None, True)), build.raw_flags(facade)
    if before is None or (before.plan, before.flags, before.module.model) != (decided, flags, facade.model):
        return Engine(facade, decided)
    before.limits, before.module.hooks = loaders.limits_of(facade), before._hooks()
    return before
