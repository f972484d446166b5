"""The saves of one run: what goes into them, when they are written, and when callbacks hear of them."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from lt_trainer.checkpoint.background import BackgroundWriter, HostCopies, num_bytes
from lt_trainer.checkpoint.format import CheckpointState
from lt_trainer.checkpoint.rng import rng_state
from lt_trainer.checkpoint.saver import BEST, Saver, files_beside, files_written_by, model_parts, tokenizer_files
from lt_trainer.files import WEIGHTS
from lt_trainer.user_steps import reads_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lt_trainer.engine import TrainingEngine
    from lt_trainer.state import TrainerState

SMALL_STATE = 32 * 2**20  # bytes: written faster than a thread is worth, and `on_save` comes in its usual place


class Saves:
    """Saves a run; every process calls each method, and the first one writes.

    Args:
        engine: the run.
    """

    def __init__(self, engine: TrainingEngine) -> None:
        self.engine, self.facade, plan = engine, engine.facade, engine.plan
        self.saver = Saver(
            self.facade.args.output_dir or "",
            plan.saving,
            is_writer=engine.lightning.global_rank == 0,
            saves=plan.cadence.saving.kind != "no",
        )
        self.writer, self.host_copies = BackgroundWriter(), HostCopies()
        self._unannounced: list[TrainerState] = []  # states whose checkpoint is being written
        self._announced = self._failed = 0

    def save(self, *, is_best: bool) -> None:
        """Saves the state of this step on every process; a large one is copied to host memory and written meanwhile."""
        self.collect()
        self.engine.bridge.store_flos()
        contents = self._contents()
        state = self.saver.begin(self.facade.state, is_best=is_best)
        parts = (dict(contents.model_state), contents.optimizer)
        large = num_bytes(parts) > SMALL_STATE
        if self.saver.is_writer:
            if large:
                contents.model_state, contents.optimizer = self.host_copies.copy(parts)
            write = self.writer.submit if large else self.writer.run
            write(partial(self.saver.write, contents, state), f"checkpoint-{state.global_step}")
        self._unannounced.append(state)
        if not large:
            self.collect()

    def save_best(self) -> None:
        """Keeps the weights of this step where no checkpoint is due; they are written meanwhile."""
        self.collect()
        self.saver.begin_best(self.facade.state)
        weights, config, extras = self._model(BEST)
        if self.saver.is_writer:
            weights, _ = self.host_copies.copy((dict(weights), None))  # shares memory with the copies of checkpoints
            job = partial(self.saver.write_best, weights, config, extras)
            self.writer.submit(job, "best", counts=False)

    def save_step_before(self) -> None:
        """A step ends the run (`on_nan`): what it found is saved, random state and all, unless that was just done."""
        if self.facade.state.global_step > 0 and not self.engine.bridge.is_saved:
            self.engine.bridge.back_to_step_begin()
            self.save(is_best=False)
            self.collect()

    def collect(self) -> None:
        """Waits for what is being written, and tells the callbacks of it."""
        self.writer.join()
        finished, failed = self.engine.driver.gather((self.writer.finished, self.writer.failed))[0]
        self.announce(finished, failed)

    def announce(self, finished: int, failed: int) -> None:
        """Fires `on_save` for a checkpoint that has become durable, with the state that was saved.

        Args:
            finished: saves that process 0 has ended.
            failed: those among them that wrote nothing.
        """
        if not self._unannounced or finished == self._announced:
            return
        state, lost = self._unannounced.pop(0), failed > self._failed
        self._announced, self._failed = finished, failed
        if lost:
            self.saver.forget(state, self.facade.state)
        else:
            self.facade.fire_saved(state)

    def estimated_size(self) -> int:
        """Of a save, in bytes: the weights, and two moments of Adam for each that is trained."""
        model, plan = self.facade.model, self.engine.plan
        if plan.cadence.saving.kind == "no":
            return 0
        moments = 0 if plan.saving.only_model or not plan.optimizer.name.startswith("adamw") else 2
        trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
        return num_bytes(dict(model_parts(model)[0])) + moments * trained

    @cached_property
    def _tokenizer_files(self) -> dict[str, bytes]:
        """Made once a run: with a large vocabulary that takes half a second, which each save would wait for."""
        return tokenizer_files(self.facade.processing_class)

    def _model(self, name: str) -> tuple[Mapping[str, Tensor], dict[str, Any] | None, dict[str, bytes]]:
        """Weights, configuration and further files for the folder `name`.

        Where a subclass overrides `save_model` or `_save`, what that writes comes first.
        """
        facade, driver = self.facade, self.engine.driver
        extras = {**files_beside(facade.model), **self._tokenizer_files}
        if facade.saves_by_itself:
            hidden: dict[str, Any] = (
                {"_internal_call": True} if reads_parameter(facade.save_model, "_internal_call") else {}
            )
            save = partial(facade.save_model, **hidden)
            extras |= files_written_by(save, self.saver.output_dir / name, driver)
        with driver.whole(facade.model):
            weights, config = model_parts(facade.model)
        return ({} if any(map(WEIGHTS.fullmatch, extras)) else weights), config, extras

    def _contents(self) -> CheckpointState:
        engine, facade, driver = self.engine, self.facade, self.engine.driver
        weights, config, extras = self._model(f"checkpoint-{facade.state.global_step}")
        contents = CheckpointState(weights, {}, config, extras=extras)
        contents.side = {
            "args": facade.args.to_sanitized_dict(),
            "effective_batch_size": engine.plan.duration.effective_batch_size,
            "progress": engine.bridge.progress(driver),
            "order": engine.order(),
            "micro_batch_rows": engine.module.most_rows,
        }
        facade.state.stateful_callbacks = facade.callback_handler.states(facade.control)
        if not engine.plan.saving.only_model:
            contents.optimizer = driver.optimizer_state()
            contents.scheduler = facade.lr_scheduler.state_dict() if facade.lr_scheduler is not None else None
            contents.scaler = engine.lightning.precision_plugin.state_dict() or None
            contents.rng = driver.gather(rng_state(driver.world_size))
        return contents

    def close(self) -> None:
        """Ends what is being written, and leaves the folder to others."""
        try:
            self.writer.join()
        finally:
            self.saver.release()
