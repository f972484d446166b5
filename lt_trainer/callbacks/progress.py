"""Progress on the terminal: bars, or plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.callbacks.base import Answer, TrainerCallback
from lt_trainer.data.loaders import length_of

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.state import TrainerControl, TrainerState


def readable(logs: dict[str, Any], max_str_len: int = 100) -> dict[str, Any]:
    """A copy of `logs` for reading: four digits, no text beyond `max_str_len` characters, no total_flos."""
    short: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, str) and len(value) > max_str_len:
            value = f"{value[:max_str_len]}... ({len(value)} characters)"
        short[name] = value
    short.pop("total_flos", None)
    return short


class ProgressCallback(TrainerCallback):
    """A bar over the optimizer steps of the run, with the loss and the time left, and one for each evaluation.

    Args:
        max_str_len: longest text that is shown of a logged value, in characters.
    """

    def __init__(self, max_str_len: int = 100) -> None:
        self.max_str_len = max_str_len
        self.training_bar: Any = None
        self.prediction_bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Opens the bar; where a run goes on, it begins at the steps done."""
        if state.is_world_process_zero:
            self.close()
            self.training_bar = _bar("train", state.max_steps, initial=state.global_step)
        return None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Moves the bar."""
        if self.training_bar is not None:
            self.training_bar.update(state.global_step - self.training_bar.n)
        return None

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Moves the evaluation's bar, which counts batches."""
        if state.is_world_process_zero:
            if self.prediction_bar is None:
                alone = self.training_bar is None
                self.prediction_bar = _bar("evaluate", length_of(kwargs.get("eval_dataloader")), leave=alone)
            self.prediction_bar.update(1)
        return None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Closes the evaluation's bar."""
        self._close_prediction_bar()
        return None

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any
    ) -> Answer:
        """Closes the evaluation's bar."""
        self._close_prediction_bar()
        return None

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """Shows the loss beside the bar, and what was logged as a line above it."""
        if self.training_bar is not None:
            logs = readable(kwargs["logs"], self.max_str_len)
            if "loss" in logs:
                self.training_bar.set_postfix(loss=logs["loss"], refresh=False)
            self.training_bar.write(str(logs))
        return None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Closes the bar."""
        self.close()
        return None

    def close(self) -> None:
        """Closes all bars, also where training was cut short."""
        self._close_prediction_bar()
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None

    def _close_prediction_bar(self) -> None:
        if self.prediction_bar is not None:
            self.prediction_bar.close()
            self.prediction_bar = None


class PrinterCallback(TrainerCallback):
    """Prints what is logged, a line each; nothing else."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """Prints the logs of this machine's first process."""
        if state.is_local_process_zero:
            print(readable(kwargs["logs"]))
        return None


def _bar(what: str, total: int | None, *, initial: int = 0, leave: bool = True) -> Any:
    from tqdm.auto import tqdm

    return tqdm(desc=what, total=total, initial=initial, leave=leave, dynamic_ncols=True)
