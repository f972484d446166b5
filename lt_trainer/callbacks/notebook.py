"""Progress in a notebook: one output with a bar, the curve of the loss and a table, which follows the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lt_trainer.callbacks import page
from lt_trainer.callbacks.progress import ProgressCallback
from lt_trainer.data.loaders import length_of

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.callbacks.base import Answer
    from lt_trainer.state import TrainerControl, TrainerState

SECONDS = 0.5  # between two pictures


class NotebookProgressCallback(ProgressCallback):
    """Shows a run in one output of a notebook's cell; what `ProgressCallback` is to a terminal.

    A picture is drawn at most twice a second and at each log. It is made of `state.log_history`, so that a run that
    goes on shows what came before. Needs IPython.
    """

    def __init__(self) -> None:
        super().__init__()
        self.view: Any = None  # IPython's handle of the output
        self.state: TrainerState | None = None  # of the training that is running
        self.began = self.drawn = 0.0
        self.first_step = self.batches = 0
        self.num_batches: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Opens the output."""
        if state.is_world_process_zero:
            self.view, self.state, self.batches = None, state, 0
            self.began, self.first_step = time.monotonic(), state.global_step
            self._draw()
        return None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Moves the bar."""
        if self.state is not None:
            self.state = state
            self._draw_if_due()
        return None

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Moves the evaluation's bar, which counts batches."""
        if state.is_world_process_zero:
            self.batches += 1
            self.num_batches = length_of(kwargs.get("eval_dataloader"))
            self._draw_if_due()
        return None

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """Draws what was logged."""
        if self.state is not None:
            self.state = state
            self._draw()
        return None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Takes the evaluation's bar away; of an evaluation by itself its metrics stay."""
        self._end_evaluation(state, kwargs["metrics"])
        return None

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any
    ) -> Answer:
        """As on_evaluate; the loss of rows without a target, which is no number, is left out."""
        self._end_evaluation(state, {name: value for name, value in (metrics or {}).items() if value == value})
        return None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Draws the run as it ended."""
        if self.state is not None:
            self.state = state
            self._draw()
        self.close()
        return None

    def close(self) -> None:
        """Leaves the output as it is; the next one begins anew."""
        self.view = self.state = None
        self.batches = 0

    def _end_evaluation(self, state: TrainerState, metrics: Any) -> None:
        if not state.is_world_process_zero:
            return
        if self.state is None:
            done = page.bar(self.batches, self.batches, f"{self.batches} batches predicted")
            self._show(page.table([page.metrics_of(metrics)]) or done)
            self.view, self.batches = None, 0
        else:
            self.batches = 0
            self._draw()

    def _draw_if_due(self) -> None:
        if time.monotonic() - self.drawn >= SECONDS:
            self._draw()

    def _draw(self) -> None:
        parts = [] if self.state is None else [page.bar(self.state.global_step, self.state.max_steps, self._where())]
        if self.batches:
            of = "" if self.num_batches is None else f" of {self.num_batches}"
            parts.append(page.bar(self.batches, self.num_batches, f"evaluation, batch {self.batches}{of}"))
        if self.state is not None:
            parts += [page.curve(self.state), page.run_table(self.state)]
        self._show("".join(parts))

    def _where(self) -> str:
        """Steps, epochs, time and time left of the training that is running."""
        assert self.state is not None
        state, seconds = self.state, time.monotonic() - self.began
        done, left = state.global_step - self.first_step, state.max_steps - state.global_step
        text = f"step {state.global_step:,} of {state.max_steps:,}, epoch {state.epoch or 0:.2f}, {page.clock(seconds)}"
        return text + (f", {page.clock(seconds / done * left)} left" if done and left else "")

    def _show(self, html: str) -> None:
        from IPython.display import display

        self.drawn = time.monotonic()
        data = {"text/html": html, "text/plain": "(progress, shown in a notebook)"}
        if self.view is None:
            self.view = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.view.update(data, raw=True)
