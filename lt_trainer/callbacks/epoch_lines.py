"""A quieter progress: one bar with the loss and the time left, and one line for each evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.callbacks.progress import ProgressCallback

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.callbacks.base import Answer
    from lt_trainer.state import TrainerControl, TrainerState


class EpochLines(ProgressCallback):
    """Shows the loss in the bar alone, and above it epoch, losses and accuracy of each evaluation.

    Takes the place of `ProgressCallback`, which writes every log in full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss: float | None = None  # nothing was logged yet
        self.best = float("-inf")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """Keeps the training loss and shows it in the bar."""
        if self.training_bar is not None and "loss" in kwargs["logs"]:
            self.loss = float(kwargs["logs"]["loss"])
            self.training_bar.set_postfix_str(f"loss {self.loss:.3f}", refresh=False)
        return None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Writes a line above the bar, with a star where the accuracy is the best so far."""
        super().on_evaluate(args, state, control, **kwargs)
        if self.training_bar is not None:
            metrics = kwargs["metrics"]
            accuracy = metrics["eval_accuracy"]
            star = " *" if accuracy > self.best else ""
            self.best = max(self.best, accuracy)
            loss = "    -" if self.loss is None else f"{self.loss:.3f}"
            self.training_bar.write(
                f"  epoch {state.epoch:4.1f} of {args.num_train_epochs:g}   training loss {loss}   "
                f"test loss {metrics['eval_loss']:.3f}   accuracy {accuracy:6.1%}{star}"
            )
        return None
