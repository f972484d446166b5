from __future__ import annotations

import logging
from typing import Any

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.early_stopping import EarlyStoppingCallback
from lt_trainer.state import TrainerControl, TrainerState

GIVEN: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}


def evaluations_until_stop(callback: EarlyStoppingCallback, values: list[float], metric: str = "loss") -> int | None:
    """Evaluations after which the callback asks to stop; the best is kept as the trainer keeps it, after the event."""
    args = TrainingArguments("out", metric_for_best_model=metric, **GIVEN)
    state, control = TrainerState(), TrainerControl()
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    for count, value in enumerate(values, 1):
        callback.on_evaluate(args, state, control, metrics={name: value})
        if control.should_training_stop:
            return count
        better = max if args.greater_is_better else min
        state.best_metric = value if state.best_metric is None else better(state.best_metric, value)
    return None


def test_stops_when_patience_is_out() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(2), [1.0, 0.9, 0.95, 0.92]) == 4


def test_an_improvement_renews_patience() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(2), [1.0, 1.1, 0.9, 1.0, 0.8]) is None


def test_a_flat_metric_is_no_improvement() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(3), [1.0, 1.0, 1.0, 1.0]) == 4


def test_small_improvements_do_not_count() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(1, early_stopping_threshold=0.1), [1.0, 0.95]) == 2
    assert evaluations_until_stop(EarlyStoppingCallback(1, early_stopping_threshold=0.1), [1.0, 0.85]) is None


def test_greater_is_better_turns_it_round() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(1), [0.5, 0.6, 0.55], metric="eval_f1") == 3


def test_only_the_evaluation_set_that_was_named_counts(caplog: pytest.LogCaptureFixture) -> None:
    callback, control = EarlyStoppingCallback(1), TrainerControl()
    args = TrainingArguments("out", metric_for_best_model="eval_b_loss", **GIVEN)
    for name, loss in (("a", 1.0), ("b", 1.0), ("a", 9.0), ("b", 0.5)):
        metrics = {f"eval_{name}_loss": loss, f"eval_{name}_runtime": 0.1}
        callback.on_evaluate(args, TrainerState(best_metric=1.5), control, metrics=metrics)
    assert not control.should_training_stop
    assert callback.early_stopping_patience_counter == 0
    assert not caplog.records


def test_nan_is_no_improvement() -> None:
    assert evaluations_until_stop(EarlyStoppingCallback(2), [1.0, float("nan"), float("nan")]) == 3


@pytest.mark.parametrize("greater", [False, True])
def test_counts_as_transformers_does(greater: bool) -> None:
    theirs = pytest.importorskip("transformers").EarlyStoppingCallback
    args = TrainingArguments("out", metric_for_best_model="x", greater_is_better=greater, **GIVEN)
    values = [0.5, 0.5, 0.4, 0.45, 0.6, 0.61, float("nan"), 0.3]
    for best in [None, *values]:
        for value in values:
            ours, other = EarlyStoppingCallback(3, 0.02), theirs(3, 0.02)
            state = TrainerState(best_metric=best)
            ours.check_metric_value(args, state, TrainerControl(), value)
            other.check_metric_value(args, state, TrainerControl(), value)
            assert ours.early_stopping_patience_counter == other.early_stopping_patience_counter, (best, value)


def test_a_metric_that_is_not_there_is_named(caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments("out", metric_for_best_model="f1", **GIVEN)
    with caplog.at_level(logging.WARNING):
        EarlyStoppingCallback().on_evaluate(args, TrainerState(), TrainerControl(), metrics={"eval_loss": 1.0})
    assert "'eval_f1', which is not among ['eval_loss']" in caplog.text


def test_nothing_to_watch_is_refused_before_training() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EarlyStoppingCallback().on_train_begin(TrainingArguments("out"), TrainerState(), TrainerControl())
    assert ["metric_for_best_model=None" in caught.value.problems[0], len(caught.value.problems)] == [True, 2]


def test_without_load_best_model_it_warns(caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments("out", metric_for_best_model="loss", eval_strategy="epoch")
    with caplog.at_level(logging.WARNING):
        EarlyStoppingCallback().on_train_begin(args, TrainerState(), TrainerControl())
    assert "load_best_model_at_end=False" in caplog.text


def test_patience_survives_a_checkpoint() -> None:
    callback = EarlyStoppingCallback(3, 0.1)
    callback.early_stopping_patience_counter = 2
    again = EarlyStoppingCallback.from_state(callback.state())
    assert vars(again) == vars(callback)
    theirs = pytest.importorskip("transformers").EarlyStoppingCallback
    assert vars(theirs.from_state(callback.state())) == vars(callback)
