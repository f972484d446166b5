"""The training step: a window of micro-batches becomes one optimizer step.

This is the whole order of a step, whoever calls it (the facade's `Trainer`, the command line, or a plain
`lightning.Trainer`), and whatever the task::

    Lightning: for window in loader:                        # a Lightning batch is one optimizer step
        prepare(window)                                     # count targets, pack (no padding), move
        training_step(window):
            num_targets = sum over ranks of window.counts
            zero_grad
            for batch in window.batches:
                loss = model(batch).loss                    # sum over its targets / num_targets
                backward                                    # ranks exchange gradients in the last one alone
                on_substep_end                              # (all but the last)
            on_before_optimizer_step:                       # fp16 gradients are unscaled by now
                grad_norm = norm over all gradients; clip; drop them where it is not finite (on_nan)
                on_pre_optimizer_step
            optimizer.step
            on_optimizer_step
            scheduler.step                                  # not where the fp16 scaler skipped the step
        callbacks' on_train_batch_end                       # the bridge logs, evaluates, saves

The loss is the sum over the targets of the whole step divided by their count, across micro-batches and ranks, so it
does not depend on how a step is cut up (https://github.com/huggingface/transformers/issues/34191).
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lt_trainer import private
from lt_trainer.agreement import agree_on_norm
from lt_trainer.data.windows import Batch, Window
from lt_trainer.evaluation_module import EvaluationModule
from lt_trainer.hooks import NonFiniteError, OptimizerFactory, StepHooks, StepOutcome
from lt_trainer.machine import empty_cache, is_out_of_memory
from lt_trainer.objective import nothing
from lt_trainer.optim import Watcher

if TYPE_CHECKING:
    from torch.optim import Optimizer

logger = logging.getLogger(__name__)


class StepModule(EvaluationModule):
    """Trains any model that returns a loss; the tasks add data and metrics.

    Args:
        model: native models compute no padding; any other `nn.Module` is called with the batch as keywords and
            must return a loss that is the mean over its targets.
        optimizer: makes optimizer and schedule when training starts.
        max_grad_norm: clips the norm of all gradients; 0 only measures it.
        hooks: see StepHooks.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: OptimizerFactory | None = None,
        max_grad_norm: float = 1.0,
        hooks: StepHooks | None = None,
    ) -> None:
        super().__init__(model, hooks or StepHooks())
        self.optimizer_factory = optimizer
        self.max_grad_norm = max_grad_norm
        self.outcome: StepOutcome | None = None
        self.num_targets = torch.ones((), dtype=torch.long)  # of the current step, over all ranks
        self.votes = torch.zeros(0, dtype=torch.long)
        self.num_tokens = self.num_flos = 0  # of the current step, over all ranks, where they are counted
        self._grad_norm: torch.Tensor | None = None
        self._parameters_list: list[nn.Parameter] = []
        self.most_rows: int | None = None  # of a micro-batch, since memory ran out at more
        self._skips = self._bare_backward = self._is_first_step = False
        self._optimizer_has_modes: bool | None = None

    # ---- training

    def configure_optimizers(self) -> Any:
        """Called by Lightning once the model is on its device."""
        if self.optimizer_factory is None:
            raise ValueError(
                "training needs an optimizer: expected optimizer=(a function: model -> (optimizer, scheduler)), "
                "received None"
            )
        optimizer, scheduler = self.optimizer_factory(self.model)
        if scheduler is None or isinstance(scheduler, Watcher):  # whoever evaluates steps a watcher
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def set_optimizer_mode(self, mode: str) -> None:
        """Schedule-free optimizers train on other weights than they evaluate on and are told: "train" or "eval"."""
        optimizer = self.trainer.optimizers[0]
        if self._optimizer_has_modes is None:
            self._optimizer_has_modes = callable(getattr(optimizer, "train", None))
        if self._optimizer_has_modes:
            getattr(optimizer, mode)()

    def on_fit_start(self) -> None:
        """Lightning keeps the mode that it finds, and loaded models are in eval mode (lightning#20105)."""
        self.train()
        self._parameters_list = list(self.model.parameters())  # walking the modules takes longer than the norm
        self._is_first_step = True
        self._bare_backward = self._scaler is None and private.nobody_sees_backward(self.trainer, self)

    def count_inputs(self, window: Window) -> Window:
        """Counts tokens and operations while batches are padded, and cuts them where memory ran out before."""
        if self.hooks.shrinks:
            window = window if self.most_rows is None else window.cut(self.most_rows)
            window.whole = Window([dict(batch) for batch in window.batches], window.rows)
        seen = [b for i, b in enumerate(window.batches) if window.rows[i]]
        if self.hooks.count_tokens is not None:
            window.num_tokens = sum(map(self.hooks.count_tokens, seen))
        if self.hooks.count_flos is not None:
            window.num_flos = sum(map(self.hooks.count_flos, seen))
        return window

    def training_step(self, window: Window, batch_idx: int) -> dict[str, torch.Tensor]:
        """One optimizer step; the module's text shows its order. Returns `loss`, 0-d: this rank's part of it."""
        assert self.driver is not None
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.set_optimizer_mode("train")
        learning_rate = optimizer.param_groups[0]["lr"]
        counts = [sum(window.counts), window.num_tokens, window.num_flos, *self.hooks.votes()]
        sums = self.driver.sum(torch.tensor(counts))
        self.num_targets, self.votes = sums[0] + (sums[0] == 0), sums[3:]
        self.num_tokens, self.num_flos = sums[1:3].tolist()
        window, losses = self._gradients(window, optimizer)
        skipped = self._step(optimizer)
        if skipped:
            self._told_of_nan(window, losses)
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        plain = self.hooks.criterion.take_plain()
        plain = None if plain is None else plain / self.num_targets
        self.outcome = StepOutcome(total, self._grad_norm, learning_rate, plain, skipped)
        return {"loss": total}

    def _gradients(self, window: Window, optimizer: LightningOptimizer) -> tuple[Window, list[torch.Tensor]]:
        """Forward and backward of all micro-batches: the window as computed, and this rank's parts of the loss."""
        assert self.driver is not None
        optimizer.zero_grad()
        losses = []
        try:
            for i, batch in enumerate(window.batches):
                last = i == len(window.batches) - 1
                with self.driver.micro_batch(last):
                    losses.append(self._micro_batch(batch, window.counts[i], window.is_blank(i)))
                if not last:
                    self.hooks.fire("on_substep_end")
            return window, losses
        except RuntimeError as error:
            rows = max(map(len, window.rows))
            if window.whole is None or rows == 1 or not is_out_of_memory(error):
                raise
        # Past the `except`: until it ends, the error's traceback holds the activations.
        losses.clear()
        self.most_rows = -(-rows // 2)
        logger.warning(
            "memory ran out at %d rows a micro-batch: the step is done again, and those that follow are done, in "
            "micro-batches of at most %d; the rows of a step stay the same",
            *(rows, self.most_rows),
        )
        whole, device = window.whole, self.device
        del window
        self.hooks.criterion.take_plain()
        optimizer.zero_grad()
        empty_cache()
        return self._gradients(self.prepare(whole, device), optimizer)

    def _micro_batch(self, batch: Batch, count: float, blank: bool) -> torch.Tensor:
        """Forward and backward: this rank's part of the step's loss, 0-d."""
        assert self.driver is not None
        world_size = self.driver.world_size  # ranks' gradients are averaged, parts of the loss are added
        if self.hooks.training_step is not None and not blank:
            return self.hooks.training_step(self.model, dict(batch), self.num_targets) / world_size
        if blank and not self.driver.forward_is_shared:
            loss = nothing(self.model)
        else:
            loss = self.loss(batch, self.num_targets, count)[0] * (0.0 if blank else 1.0)
        if self._bare_backward:
            loss.backward()
        else:
            self.manual_backward(loss * world_size)
        return loss.detach()

    def _step(self, optimizer: Any) -> bool:
        """Lets the optimizer and the schedule step; whether the weights stayed as they were."""
        assert self.driver is not None
        scaler = self._scaler
        scale = scaler.get_scale() if scaler is not None else None
        self._skips = False
        optimizer.step()
        if self._grad_norm is None:
            self._grad_norm = self.driver.norm_of_step()
            self._skips = self._stops_at(self._grad_norm)
        if self._is_first_step and self.driver.world_size > 1:
            agree_on_norm(self.driver, float(self._grad_norm))
        self._is_first_step = False
        self.hooks.fire("on_optimizer_step")
        scheduler = self.lr_schedulers()
        assert not isinstance(scheduler, list | ReduceLROnPlateau)  # Lightning's type of them all
        stepped = not self._skips and self.driver.has_stepped()
        if scheduler is not None and stepped and (scaler is None or scaler.get_scale() >= scale):
            scheduler.step()
        return self._skips

    @property
    def _scaler(self) -> Any:
        """Of the gradients, in fp16 alone: it skips a step by itself where they overflow, which is its way of work."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measures and clips gradients that are unscaled: by Lightning, or here where the optimizer would later."""
        assert self.driver is not None
        if self._scaler is not None and private.unscales_itself(optimizer):
            self._scaler.unscale_(optimizer)
        self._grad_norm = norm = self.driver.clip(self._parameters_list, self.max_grad_norm)
        if norm is not None and self._stops_at(norm):
            self._skips = True
            for parameter in self._parameters_list:  # an optimizer leaves alone what has no gradient, its state too
                parameter.grad = None
        self.hooks.fire("on_pre_optimizer_step")

    def _stops_at(self, norm: torch.Tensor) -> bool:
        """Whether gradients of this norm are not finite, and that is not an fp16 scaler's way of work."""
        assert self.driver is not None
        return self.hooks.on_nan != "ignore" and not self.driver.scales_loss and not math.isfinite(norm)

    def _told_of_nan(self, window: Window, losses: list[torch.Tensor]) -> None:
        """Names step, rank and rows of gradients that are not finite, and raises where that is to stop the run.

        Raises:
            NonFiniteError: `on_nan` is "stop".
        """
        assert self.driver is not None
        bad = [rows for rows, loss in zip(window.rows, losses, strict=True) if not math.isfinite(loss)]
        found = [
            (rank, rows) for rank, rows in enumerate(self.driver.gather([r for rows in bad for r in rows])) if rows
        ]
        where = "; ".join(f"rank {rank}, rows {rows[:32]} of train_dataset" for rank, rows in found)
        assert self._grad_norm is not None
        what = f"step {self.trainer.global_step}: the gradients are not finite (norm {float(self._grad_norm)})"
        what += f": {where or 'every loss is finite, so they overflowed in the backward pass'}"
        if self.hooks.on_nan == "skip":
            logger.warning("%s. The weights stay as they were, and training goes on", what)
            return
        self.hooks.before_stop()
        raise NonFiniteError(
            f"{what}. The weights are those of the step before. Look at these rows, lower learning_rate, or set "
            "on_nan='skip' to leave such steps out, on_nan='ignore' to train on"
        )
