from __future__ import annotations

import inspect
import itertools
import logging
from typing import Any

import pytest

from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.base import EVENTS, CallbackHandler, DefaultFlowCallback, TrainerCallback
from lt_trainer.state import TrainerControl, TrainerState

ARGS, STATE = TrainingArguments("out"), TrainerState()


class Recording(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.seen.append(("on_step_end", kwargs))

    def on_log(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.seen.append(("on_log", kwargs))


class Stopping(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        control.should_training_stop = True  # set in place, nothing returned


class Replacing(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        return TrainerControl(should_training_stop=control.should_training_stop, should_save=True)


def test_events_are_the_sixteen_of_transformers() -> None:
    theirs = pytest.importorskip("transformers").TrainerCallback
    assert set(EVENTS) == {name for name in vars(theirs) if name.startswith("on_")}
    assert len(EVENTS) == 16
    for name in EVENTS:
        ours = list(inspect.signature(getattr(TrainerCallback, name)).parameters)
        assert ours == list(inspect.signature(getattr(theirs, name)).parameters)


def test_every_event_can_be_called_by_name_or_as_a_method() -> None:
    handler = CallbackHandler([TrainerCallback])
    for event in EVENTS:
        extra = {"metrics": {}} if event == "on_predict" else {}
        control = TrainerControl()
        assert handler.call_event(event, ARGS, STATE, control, **extra) is control
        assert getattr(handler, event)(ARGS, STATE, control, **extra) is control


def test_callbacks_get_what_the_handler_holds_and_what_the_event_brings() -> None:
    recording = Recording()
    handler = CallbackHandler([recording], "model", "tokenizer", "optimizer", "schedule")
    handler.train_dataloader, handler.eval_dataloader = "train", "eval"
    handler.call_event("on_log", ARGS, STATE, TrainerControl(), logs={"loss": 1.0})
    assert recording.seen == [
        (
            "on_log",
            {
                "model": "model",
                "processing_class": "tokenizer",
                "optimizer": "optimizer",
                "lr_scheduler": "schedule",
                "train_dataloader": "train",
                "eval_dataloader": "eval",
                "logs": {"loss": 1.0},
            },
        )
    ]


def test_each_callback_sees_what_those_before_it_set() -> None:
    control = CallbackHandler([Stopping, Replacing]).call_event("on_step_end", ARGS, STATE, TrainerControl())
    assert control == TrainerControl(should_training_stop=True, should_save=True)


FLAGS = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")


@pytest.mark.parametrize("event", EVENTS)
def test_flags_are_cleared_by_the_events_that_clear_them_in_transformers(event: str) -> None:
    theirs = pytest.importorskip("transformers.trainer_callback")
    extra = {"on_predict": {"metrics": {}}, "on_evaluate": {"metrics": {}}, "on_log": {"logs": {}}}.get(event, {})
    all_set = dict.fromkeys(FLAGS, True)
    their_handler = theirs.CallbackHandler([theirs.TrainerCallback, theirs.DefaultFlowCallback], None, None, None, None)
    their_handler.callbacks.pop()
    expected = getattr(their_handler, event)(ARGS, STATE, theirs.TrainerControl(**all_set), **extra)
    found = CallbackHandler([]).call_event(event, ARGS, STATE, TrainerControl(**all_set), **extra)
    assert vars(found) == vars(expected)


def test_classes_and_instances_are_taken() -> None:
    handler = CallbackHandler([Recording, Stopping()])
    assert handler.callback_list == "Recording\nStopping"


def test_pop_and_remove_take_classes_and_instances() -> None:
    one, two, three = Recording(), Recording(), Stopping()
    handler = CallbackHandler([])
    handler.callbacks += [one, two, three]
    assert handler.pop_callback(two) is two
    assert handler.pop_callback(Recording) is one
    assert handler.pop_callback(Recording) is None
    handler.remove_callback(Stopping)
    assert handler.callbacks == []


def test_a_second_of_the_same_class_is_warned_about_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        handler = CallbackHandler([Recording, Recording])
    assert "a second Recording" in caplog.text
    assert len(handler.callbacks) == 2


def test_a_callback_may_remove_itself() -> None:
    class Once(Recording):
        def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
            super().on_step_end(args, state, control)
            handler.remove_callback(self)

    once, after = Once(), Recording()
    handler = CallbackHandler([once, after])
    for _ in range(2):
        handler.call_event("on_step_end", ARGS, STATE, TrainerControl())
    assert (len(once.seen), len(after.seen)) == (1, 2)


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a TrainerCallback class or instance, received 'early'"):
        CallbackHandler(["early"])
    with pytest.raises(TypeError, match="received <class 'int'>"):
        CallbackHandler([int])


def test_callbacks_of_transformers_are_taken() -> None:
    theirs = pytest.importorskip("transformers").TrainerCallback

    class Foreign(theirs):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_log = True

    handler = CallbackHandler([Foreign])
    assert handler.call_event("on_step_end", ARGS, STATE, TrainerControl()).should_log


def test_callbacks_that_lack_a_newer_event_are_left_out_of_it() -> None:
    old = type("TrainerCallback", (), {"on_log": lambda self, args, state, control, **kwargs: None})
    assert CallbackHandler([old]).call_event("on_push_begin", ARGS, STATE, TrainerControl()) == TrainerControl()


def flow(**arguments: Any) -> list[str]:
    """What the default flow asks for at each of 7 steps (epochs of 3), as letters: l, e, s and ! for the end."""
    args = TrainingArguments("out", **arguments)
    state = TrainerState(
        max_steps=7,
        logging_steps=int(args.logging_steps),
        eval_steps=int(args.eval_steps or 500),
        save_steps=int(args.save_steps),
    )
    handler, found = CallbackHandler([DefaultFlowCallback]), []
    for step in range(1, 8):
        state.global_step, state.epoch = step, step / 3
        control = handler.call_event("on_step_begin", args, state, TrainerControl())
        control = handler.call_event("on_step_end", args, state, control)
        if step % 3 == 0:
            control = handler.call_event("on_epoch_end", args, state, control)
        letters = {"l": control.should_log, "e": control.should_evaluate, "s": control.should_save}
        letters["!"] = control.should_training_stop
        found.append("".join(letter for letter, on in letters.items() if on))
    return found


def test_default_flow_counts_steps_and_saves_and_evaluates_the_last() -> None:
    found = flow(logging_steps=2, eval_strategy="steps", eval_steps=3, save_steps=4)
    assert found == ["", "l", "e", "ls", "", "le", "es!"]


def test_default_flow_counts_epochs() -> None:
    found = flow(logging_strategy="epoch", eval_strategy="epoch", save_strategy="epoch")
    assert found == ["", "", "les", "", "", "les", "!"]


def test_default_flow_waits_for_the_delay() -> None:
    assert flow(logging_strategy="no", save_strategy="no", eval_strategy="steps", eval_steps=2, eval_delay=3) == [
        *("", "", "", "e", "", "e", "e!"),
    ]
    assert flow(logging_strategy="no", save_strategy="no", eval_strategy="epoch", eval_delay=2)[2:6] == [
        "",
        "",
        "",
        "e",
    ]


def test_default_flow_logs_the_first_step_where_asked() -> None:
    assert flow(logging_first_step=True, save_strategy="no") == ["l", "", "", "", "", "", "!"]


def test_default_flow_equals_that_of_transformers() -> None:
    theirs = pytest.importorskip("transformers").DefaultFlowCallback()
    ours = DefaultFlowCallback()
    strategies = ("no", "steps", "epoch")
    for log, evaluate, save, first, delay in itertools.product(strategies, strategies, strategies, (0, 1), (0, 2, 5)):
        args = TrainingArguments(
            "out",
            logging_strategy=log,
            eval_strategy=evaluate,
            save_strategy=save,
            logging_first_step=first,
            eval_delay=delay,
        )
        state = TrainerState(max_steps=7, logging_steps=2, eval_steps=3, save_steps=4)
        for step in range(1, 8):
            state.global_step, state.epoch = step, step / 3
            for event in ("on_step_end", "on_epoch_end"):
                mine, other = TrainerControl(), TrainerControl()
                getattr(ours, event)(args, state, mine)
                getattr(theirs, event)(args, state, other)
                assert mine == other, (log, evaluate, save, first, delay, step, event)
