"""What steps leave behind until it is logged: sums that stay on the device, so that no step waits for a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lt_trainer.drivers import Driver
    from lt_trainer.module import StepModule


class Tally:
    """Adds up the steps since the last log.

    Args:
        filters_nan: losses that are not finite stay out of the logged mean, as in `transformers`.

    Attributes:
        total_loss: of all steps that were logged.
        skipped_steps: of the whole run, by `on_nan`.
        last_logged: the step of the last log.
    """

    def __init__(self, *, filters_nan: bool = False) -> None:
        self.filters_nan = filters_nan
        self.total_loss = 0.0
        self.skipped_steps = self.last_logged = 0
        self._loss: torch.Tensor | None = None  # this rank's part
        self._skipped_loss: torch.Tensor | None = None  # of a skipped step
        self._clipped: torch.Tensor | float = 0.0  # steps whose gradients were clipped
        self._plain: torch.Tensor | None = None  # this rank's losses without smoothing

    def add(self, module: StepModule, loss: torch.Tensor, step: int) -> None:
        """A skipped step's loss is logged and enters no mean; one that is to be filtered counts as the mean so far.

        Args:
            module: whose step it was.
            loss: this rank's part of the step's, 0-d.
            step: number of the step, from 1.
        """
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
            loss = torch.where(torch.isfinite(loss), loss, before / (step - self.last_logged))
        self._loss = before + loss

    def read(self, module: StepModule, step: int) -> tuple[dict[str, float], dict[str, float]]:
        """The log of the steps up to `step`, and what `transformers` does not log; the next begin anew.

        Of the second, for metrics.jsonl and the loggers, `clipped_share` is of steps, and `skipped_steps` counts from
        the beginning of the run.
        """
        outcome, driver, steps = module.outcome, module.driver, step - self.last_logged
        assert outcome is not None
        assert driver is not None
        loss = self.flush(driver)
        logs = {"loss": loss / steps if self._skipped_loss is None else float("nan")}
        if outcome.grad_norm is not None:
            logs["grad_norm"] = float(outcome.grad_norm)
        logs["learning_rate"] = outcome.learning_rate
        beside = {"skipped_steps": self.skipped_steps, "clipped_share": float(self._clipped) / steps}
        if self._plain is not None:
            beside["unsmoothed_loss"] = float(driver.sum(self._plain)) / steps
        self.last_logged, self._skipped_loss, self._clipped, self._plain = step, None, 0.0, None
        return logs, beside

    def flush(self, driver: Driver) -> float:
        """The losses of the steps since the last log, added up over all ranks; they go into `total_loss`."""
        if self._loss is None:
            return 0.0
        loss = float(driver.sum(self._loss))
        self._loss = None
        self.total_loss += loss
        return loss

    def progress(self, driver: Driver) -> dict[str, Any]:
        """As JSON, for a checkpoint."""
        return {
            "total_loss": self.total_loss,
            "last_logged": self.last_logged,
            "skipped_steps": self.skipped_steps,
            "losses": driver.gather(None if self._loss is None else float(self._loss)),
            "clipped": float(self._clipped),
            "plain": driver.gather(None if self._plain is None else float(self._plain)),
        }

    def restore(self, progress: dict[str, Any], *, rank: int, world_size: int) -> None:
        """Takes up what `progress` gave, on any number of processes."""
        self.total_loss, self.last_logged = progress["total_loss"], progress["last_logged"]
        self.skipped_steps, self._clipped = progress.get("skipped_steps", 0), progress.get("clipped", 0.0)
        plain = [loss for loss in progress.get("plain", ()) if loss is not None]
        self._plain = torch.tensor(sum(plain) if rank == 0 else 0.0) if plain else None
        losses = [loss for loss in progress["losses"] if loss is not None]
        if losses and len(losses) != world_size:  # another number of processes: the sum is what counts
            losses = [sum(losses)]
        if rank < len(losses):
            self._loss = torch.tensor(losses[rank])
