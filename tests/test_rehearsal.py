"""What would fail in the first evaluation fails before the first step, and nothing else changes."""

from __future__ import annotations

import functools
import itertools
import json

import numpy as np
import pytest
import torch

from lt_trainer import ConfigurationError, EarlyStoppingCallback, Trainer, TrainerCallback
from lt_trainer.callbacks.base import EVENTS
from lt_trainer.rehearsal import independent
from tests.faults import runs


class Everything(TrainerCallback):
    """Keeps the name of every event."""

    def __init__(self):
        self.seen = []


for event in EVENTS:
    setattr(Everything, event, lambda self, *args, _event=event, **kwargs: self.seen.append(_event))


def build(output_dir, **options):
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "no",
        "per_device_eval_batch_size": 3,
        "eval_dataset": runs.rows(20),
    }
    return runs.build(output_dir, **{**settings, **options})


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def run(trainer):
    """The weights at the end and the log, without times."""
    trainer.train()
    history = [
        {k: v for k, v in entry.items() if "runtime" not in k and "second" not in k}
        for entry in trainer.state.log_history
    ]
    return runs.weights(trainer), json.dumps(history)


def test_a_misspelt_metric_is_found_before_the_first_step_in_two_batches(tmp_path):
    rows = []

    def metrics(prediction):
        rows.append(len(prediction.label_ids))
        return accuracy(prediction)

    callback = Everything()
    trainer = build(
        tmp_path,
        compute_metrics=metrics,
        metric_for_best_model="acuracy",
        callbacks=[callback],
        save_strategy="steps",
        load_best_model_at_end=True,
    )
    before = runs.weights(trainer)
    with pytest.raises(ConfigurationError, match=r"one of \['eval_accuracy', .*did you mean 'eval_accuracy'"):
        trainer.train()
    assert callback.seen == ["on_init_end"]
    assert trainer.state.log_history == []
    assert trainer.state.global_step == 0
    assert runs.weights(trainer) == before
    assert not rows  # what was called was a copy


def test_a_missing_metric_is_a_key_error_too(tmp_path):
    with pytest.raises(KeyError, match=r"expected one of \['eval_loss', .*'eval_f2'"):
        build(tmp_path, metric_for_best_model="f2", greater_is_better=True).train()


def test_compute_metrics_that_fails_is_found_before_the_first_step(tmp_path):
    trainer = build(tmp_path, compute_metrics=lambda prediction: {"f1": prediction.nothing})
    with pytest.raises(AttributeError, match="nothing") as caught:
        trainer.train()
    assert trainer.state.global_step == 0
    assert "on 2 batches, before the first step; eval_dry_run=False" in caught.value.__notes__[0]


@pytest.mark.parametrize("returned", [None, 0.5, [("f1", 1)], {1: 2}], ids=str)
def test_what_is_no_dict_of_names_is_refused_before_the_first_step(tmp_path, returned):
    trainer = build(tmp_path, compute_metrics=lambda prediction: returned)
    with pytest.raises(TypeError, match=r"compute_metrics: expected .*received"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_the_rows_come_from_all_over_the_data(tmp_path):
    """A data set that is sorted by its labels would show a metric one class alone."""
    sorted_rows = sorted(runs.rows(20), key=lambda row: row["labels"])

    def metrics(prediction):
        if len(set(prediction.label_ids.tolist())) < 2:
            raise ValueError("one class")
        return {"f1": 1.0}

    build(tmp_path, compute_metrics=metrics, eval_dataset=sorted_rows, max_steps=1).train()


@pytest.mark.parametrize("options", [{}, {"eval_on_start": True}, {"num_train_epochs": 2, "max_steps": -1}], ids=str)
def test_a_run_with_it_equals_one_without_bit_for_bit(tmp_path, options):
    found = []
    for dry in (True, False):
        callback = Everything()
        scores = itertools.count()
        trainer = build(
            tmp_path / str(dry),
            compute_metrics=lambda p, scores=scores: {"score": next(scores), "noise": np.random.rand()},
            metric_for_best_model="score",
            callbacks=[callback],
            eval_dry_run=dry,
            **options,
        )
        found.append((*run(trainer), callback.seen))
    assert found[0] == found[1]


def test_each_of_several_sets_is_tried(tmp_path):
    sets = {"a": runs.rows(8), "b": runs.rows(8)}
    trainer = build(tmp_path, eval_dataset=sets, metric_for_best_model="eval_loss")
    with pytest.raises(ConfigurationError, match=r"'eval_a_loss', .*'eval_b_loss', .*received 'eval_loss'"):
        trainer.train()
    trainer = build(tmp_path / "right", eval_dataset=sets, metric_for_best_model="b_loss", max_steps=2)
    trainer.train()
    assert trainer.state.best_metric == trainer.state.log_history[-2]["eval_b_loss"]


def test_early_stopping_on_an_unknown_metric_is_refused(tmp_path):
    trainer = build(tmp_path, metric_for_best_model="f1", callbacks=[EarlyStoppingCallback(2)])
    with pytest.raises(ConfigurationError, match="'eval_f1'"):
        trainer.train()


def test_it_can_be_left_out(tmp_path):
    trainer = build(tmp_path, metric_for_best_model="f2", eval_dry_run=False)
    with pytest.raises(KeyError, match="'eval_f2'"):
        trainer.train()
    assert trainer.state.global_step == 2


def test_nothing_is_evaluated_where_no_metric_can_be_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("lt_trainer.rehearsal.independent", lambda *args: pytest.fail("tried"))
    build(tmp_path, eval_strategy="no", compute_metrics=accuracy, max_steps=1).train()
    build(tmp_path / "plain", max_steps=1).train()


def test_a_subclass_with_an_evaluation_of_its_own_is_left_alone(tmp_path):
    class Spans(Trainer):
        def evaluate(self, *args, **kwargs):
            return {"eval_exact": 1.0}

    trainer = build(tmp_path, compute_metrics=lambda p: p.answers, metric_for_best_model="exact")
    trainer.__class__ = Spans
    trainer.train()
    assert trainer.state.best_metric == 1.0


def test_a_loader_of_a_subclass_is_read_for_two_batches(tmp_path):
    class Own(Trainer):
        def get_eval_dataloader(self, eval_dataset=None):
            read.append(0)

            class Loader(list):
                def __iter__(self):
                    for batch in list.__iter__(self):
                        read[-1] += 1
                        yield batch

            return Loader([{"x": torch.ones(2, 4), "labels": torch.tensor([0, 1])}] * 5)

    read: list[int] = []
    trainer = build(tmp_path, compute_metrics=accuracy, max_steps=2)
    trainer.__class__ = Own
    trainer.train()
    assert read == [2, 5]


class Running:
    """Keeps its sums for ever, so that a batch too many would show."""

    def __init__(self):
        self.batches = 0

    def __call__(self, prediction, compute_result):
        self.batches += 1
        return {"batches": self.batches}


def closure():
    batches = []

    def metrics(prediction, compute_result):
        batches.append(prediction)
        return {"batches": len(batches)}

    return metrics


@pytest.mark.parametrize("make", [Running, closure, lambda: functools.partial(Running().__call__)])
def test_the_state_of_batch_metrics_stays_as_it_was(tmp_path, make):
    options = {"batch_eval_metrics": True, "max_steps": 2, "metric_for_best_model": "batches"}
    trainer = build(tmp_path, compute_metrics=make(), **options)
    trainer.train()
    assert [e["eval_batches"] for e in trainer.state.log_history if "eval_batches" in e] == [7]


def test_batch_metrics_that_fail_at_the_end_are_found(tmp_path):
    def metrics(prediction, compute_result):
        return {"f1": prediction.nothing} if compute_result else {}

    trainer = build(tmp_path, compute_metrics=metrics, batch_eval_metrics=True)
    with pytest.raises(AttributeError):
        trainer.train()
    assert trainer.state.global_step == 0


def test_metrics_of_a_generator_are_not_tried(tmp_path):
    scores = (score / 10 for score in range(10))
    trainer = build(tmp_path, compute_metrics=lambda p: {"score": next(scores)}, max_steps=4)
    trainer.train()
    assert [e["eval_score"] for e in trainer.state.log_history if "eval_score" in e] == [0.0, 0.1]


# ---- copies that change nothing

COUNT = 0
SEEN: list[int] = []


def helper(value):
    SEEN.append(value)


def with_globals(value):
    global COUNT
    COUNT += 1
    helper(value)
    (lambda: SEEN.append(value))()
    return len(SEEN)


def test_globals_of_a_function_and_of_those_it_calls_stay():
    assert independent(with_globals, ())(1) == 2
    assert independent(with_globals, ())(1) == 2
    assert (COUNT, SEEN) == (0, [])


def test_attributes_of_a_function_and_of_its_object_stay():
    def count():
        count.calls += 1
        return count.calls

    count.calls = 0
    assert independent(count, ())() == 1
    assert count.calls == 0
    running = Running()
    assert independent(running.__call__, ())(None, True) == {"batches": 1}
    assert running.batches == 0


def test_metrics_of_torchmetrics_are_copied_and_models_are_not():
    metric = pytest.importorskip("torchmetrics").MeanMetric()
    model = torch.nn.Linear(1, 1)

    def update():
        metric.update(1.0)
        return model

    assert independent(update, ())() is model
    assert metric.update_count == 0


def test_what_is_shared_is_not_copied_wherever_it_is():
    shared = {"rows": [1]}
    held = [shared]
    assert independent(lambda: held[0], (shared,))() is shared
    assert independent(lambda: held, (shared,))() is not held


def test_what_cannot_be_copied_is_shared_and_an_iterator_is_refused(tmp_path):
    with open(tmp_path / "log", "w") as file:
        assert independent(lambda: file, ())() is file
    numbers = (i for i in range(3))
    with pytest.raises(TypeError, match="it reads a generator"):
        independent(lambda: next(numbers), ())


def test_a_variable_that_is_not_set_yet_stays_so():
    def read():
        return later

    twin = independent(read, ())
    later = 1
    assert read() == later
    with pytest.raises(NameError):
        twin()
