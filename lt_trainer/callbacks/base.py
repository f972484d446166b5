"""The events of a run, the handler that calls them, and the default flow that decides when to log, evaluate and save.

Order of the events of one training run::

    on_init_end                                   # Trainer(...)
    on_train_begin
    for each epoch:
        on_epoch_begin
        for each optimizer step:
            on_step_begin
            on_substep_end                        # after each micro-batch but the last
            on_pre_optimizer_step                 # gradients are clipped
            on_optimizer_step                     # weights are new, gradients still there
            on_step_end                           # on_log, on_evaluate, on_save where control asks for them
        on_epoch_end                              # the same
    on_log; on_train_end

    evaluate: on_prediction_step for each batch; on_log; on_evaluate         predict: the same; on_predict
"""

from __future__ import annotations

import logging
from functools import partialmethod
from typing import TYPE_CHECKING, Any, TypeAlias

from lt_trainer.state import TrainerControl, TrainerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lt_trainer.args.fields import TrainingArguments

logger = logging.getLogger(__name__)

# Flags that an event clears before anyone is called.
_CLEARS = {
    "on_train_begin": ("should_training_stop",),
    "on_epoch_begin": ("should_epoch_stop",),
    "on_step_begin": ("should_log", "should_evaluate", "should_save"),
    "on_evaluate": ("should_evaluate",),
    "on_save": ("should_save",),
    "on_log": ("should_log",),
}
Answer: TypeAlias = TrainerControl | None


class TrainerCallback:
    """Base of callbacks: override the events you want; each gets what it needs by keyword.

    Every event may change `control` and return it; returning nothing keeps what was set. Keywords of every event:
    `model`, `processing_class`, `optimizer`, `lr_scheduler`, `train_dataloader`, `eval_dataloader`; `logs` in
    `on_log`; `metrics` in `on_evaluate` and `on_predict`.
    """

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """The trainer is made."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Training begins."""

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Training has ended."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """A pass over the training data begins."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """A pass over the training data has ended."""

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """An optimizer step begins."""

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """A micro-batch of the step has gone backward; not called for the last."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Gradients are complete and clipped, weights are old."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Weights are new, gradients are not yet cleared."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """An optimizer step has ended; `state.global_step` counts it."""

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """An evaluation has ended; `metrics` holds its numbers, `state.best_metric` the best before it."""

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any
    ) -> Answer:
        """A prediction has ended."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """A checkpoint is complete on the disk."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Answer:
        """`logs` was added to `state.log_history`."""

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """A batch was evaluated or predicted."""

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """A push to the hub begins."""


EVENTS = tuple(name for name in vars(TrainerCallback) if name.startswith("on_"))


class CallbackHandler:
    """Calls an event of every callback in the order in which they were added.

    Args:
        callbacks: classes or instances; those of Lightning are kept apart, in `lightning`, for its own trainer to call.
        model: handed to every event, like the next three.
    """

    def __init__(
        self,
        callbacks: Iterable[Any],
        model: Any = None,
        processing_class: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
    ) -> None:
        self.callbacks: list[Any] = []
        self.lightning: list[Any] = []
        self.model, self.processing_class = model, processing_class
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None
        for callback in callbacks:
            self.add_callback(callback)

    def add_callback(self, callback: Any) -> None:
        """Adds a class (made without arguments) or an instance.

        Raises:
            TypeError: it is no callback.
        """
        made = callback() if isinstance(callback, type) else callback
        # The name counts: callbacks that inherit from the class of `transformers` work too.
        if not any(base.__name__ == "TrainerCallback" for base in type(made).__mro__):
            if not _is_of_lightning(made):
                raise TypeError(
                    f"callbacks: expected a TrainerCallback class or instance, received {callback!r}: "
                    "derive it from lt_trainer.TrainerCallback, or from lightning.pytorch.Callback"
                )
            self.lightning.append(made)
            return
        if any(type(made) is type(other) for other in self.callbacks):
            logger.warning("a second %s is added to the callbacks: both will be called", type(made).__name__)
        self.callbacks.append(made)

    def pop_callback(self, callback: Any) -> Any:
        """Removes the first callback that is, or is an instance of, `callback`, and returns it; None without one."""
        for kind in (self.callbacks, self.lightning):
            for other in kind:
                if isinstance(other, callback) if isinstance(callback, type) else other == callback:
                    kind.remove(other)
                    return other
        return None

    def remove_callback(self, callback: Any) -> None:
        """Removes the first callback that is, or is an instance of, `callback`."""
        self.pop_callback(callback)

    @property
    def callback_list(self) -> str:
        """Class names, one a line."""
        return "\n".join(type(callback).__name__ for callback in self.callbacks)

    def states(self, control: TrainerControl) -> dict[str, Any]:
        """What callbacks carry over a restart, as JSON: class name -> state, or a list of them for a class twice there.

        A callback has a state where it is an `ExportableState` (here or in `transformers`), or has `state_dict`.
        """
        found: dict[str, list[Any]] = {}
        for callback in (*self.callbacks, control):
            if _is_exportable(callback):
                found.setdefault(type(callback).__name__, []).append(callback.state())
            elif hasattr(callback, "state_dict"):
                found.setdefault(type(callback).__name__, []).append({"state_dict": callback.state_dict()})
        for callback in self.lightning:
            if state := callback.state_dict():
                found.setdefault(type(callback).__name__, []).append({"state_dict": state})
        return {name: states if len(states) > 1 else states[0] for name, states in found.items()}

    def restore(self, states: dict[str, Any]) -> None:
        """Gives every callback the state that `states` saved of it; callbacks without one stay as they are."""
        waiting = {name: list(saved) if isinstance(saved, list) else [saved] for name, saved in states.items()}
        for callback in self.lightning:
            if saved := waiting.get(type(callback).__name__):
                callback.load_state_dict(saved.pop(0)["state_dict"])
        for i, callback in enumerate(self.callbacks):
            saved = waiting.get(type(callback).__name__)
            if not saved:
                continue
            state = saved.pop(0)
            if _is_exportable(callback):
                self.callbacks[i] = type(callback).from_state(state)
            elif hasattr(callback, "load_state_dict"):
                callback.load_state_dict(state["state_dict"])

    def call_event(
        self, event: str, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Calls one event of every callback.

        Args:
            event: one of EVENTS.
            args: as the next two, handed on.
            state: see TrainerState.
            control: what callbacks want; each sees what those before it set.
            kwargs: what this event brings: `logs`, `metrics`.

        Returns:
            The control that the last callback left.
        """
        for flag in _CLEARS.get(event, ()):
            setattr(control, flag, False)
        for callback in tuple(self.callbacks):
            method = getattr(callback, event, None)  # callbacks of old releases lack the newest events
            if method is None:
                continue
            answer = method(
                args,
                state,
                control,
                model=self.model,
                processing_class=self.processing_class,
                optimizer=self.optimizer,
                lr_scheduler=self.lr_scheduler,
                train_dataloader=self.train_dataloader,
                eval_dataloader=self.eval_dataloader,
                **kwargs,
            )
            control = control if answer is None else answer
        return control

    on_init_end = partialmethod(call_event, "on_init_end")
    on_train_begin = partialmethod(call_event, "on_train_begin")
    on_train_end = partialmethod(call_event, "on_train_end")
    on_epoch_begin = partialmethod(call_event, "on_epoch_begin")
    on_epoch_end = partialmethod(call_event, "on_epoch_end")
    on_step_begin = partialmethod(call_event, "on_step_begin")
    on_substep_end = partialmethod(call_event, "on_substep_end")
    on_pre_optimizer_step = partialmethod(call_event, "on_pre_optimizer_step")
    on_optimizer_step = partialmethod(call_event, "on_optimizer_step")
    on_step_end = partialmethod(call_event, "on_step_end")
    on_evaluate = partialmethod(call_event, "on_evaluate")
    on_predict = partialmethod(call_event, "on_predict")
    on_save = partialmethod(call_event, "on_save")
    on_log = partialmethod(call_event, "on_log")
    on_prediction_step = partialmethod(call_event, "on_prediction_step")
    on_push_begin = partialmethod(call_event, "on_push_begin")


def _is_of_lightning(callback: Any) -> bool:
    """Whether it inherits from Lightning's base, which takes seconds to import just to ask."""
    bases = type(callback).__mro__
    return any(base.__name__ == "Callback" and base.__module__.startswith("lightning.pytorch.") for base in bases)


def _is_exportable(callback: Any) -> bool:
    """Also of the class of that name in `transformers`."""
    return any(base.__name__ == "ExportableState" for base in type(callback).__mro__)


class DefaultFlowCallback(TrainerCallback):
    """Sets `control` as the arguments say. Shares are steps already, in `state.logging_steps` and its like."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Strategies that count steps; the last step is evaluated and saved even between them, and ends training."""
        step, last = state.global_step, state.global_step >= state.max_steps
        if (step == 1 and args.logging_first_step) or _due(args.logging_strategy, step, state.logging_steps):
            control.should_log = True
        if args.eval_strategy == "steps" and step >= args.eval_delay and (last or step % state.eval_steps == 0):
            control.should_evaluate = True
        if _due(args.save_strategy, step, state.save_steps) or (last and args.save_strategy == "steps"):
            control.should_save = True
        if last:
            control.should_training_stop = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Answer:
        """Strategies that count epochs."""
        if args.logging_strategy == "epoch":
            control.should_log = True
        if args.eval_strategy == "epoch" and (state.epoch or 0) >= args.eval_delay:
            control.should_evaluate = True
        if args.save_strategy == "epoch":
            control.should_save = True
        return control


def _due(strategy: str, step: int, every: int) -> bool:
    return strategy == "steps" and every > 0 and step % every == 0
