"""Evaluation and prediction beside `transformers.Trainer`: what comes back, and what the caller's functions get."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import lt_trainer

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of transformers and accelerate are theirs
BOTH = [transformers, lt_trainer]
SPEED = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "total_flos", "epoch")


class Config:
    """What both libraries read of a model's configuration."""

    use_cache = False

    def to_dict(self):
        return {}


class Nested(nn.Module):
    """Returns logits of ragged width, and a tuple of hidden states beside them."""

    main_input_name = "x"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(1, 3)
        self.config = Config()

    def forward(self, x, labels=None):
        logits = self.linear(x.float()[..., None])  # [B, T, 3]
        found = {"logits": logits, "hidden": (logits[..., 0], {"twice": 2 * logits}), "scale": logits.mean()}
        if labels is None:
            return found
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return {"loss": loss, **found}


ROWS = [{"x": [i + j for j in range(1 + i % 4)], "labels": [(i + j) % 3 for j in range(1 + i % 4)]} for i in range(11)]


def pad(rows):
    width = max(len(row["x"]) for row in rows)
    batch = {"x": torch.tensor([row["x"] + [0] * (width - len(row["x"])) for row in rows])}
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows])
    return batch


@pytest.fixture
def build(tmp_path):
    def make(library, *, model=None, eval_dataset=ROWS, **options):
        names = ("compute_metrics", "preprocess_logits_for_metrics", "callbacks")
        given = {name: options.pop(name) for name in names if name in options}
        settings = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "per_device_eval_batch_size": 4}
        args = library.TrainingArguments(str(tmp_path / library.__name__), **{**settings, **options})
        return library.Trainer(
            model=model or Nested(),
            args=args,
            data_collator=pad,
            train_dataset=ROWS,
            eval_dataset=eval_dataset,
            **given,
        )

    return make


def without_speed(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith(SPEED)}


def assert_same(ours, theirs):
    """Nests of arrays: the same structure, shapes, types and values."""
    assert isinstance(theirs, dict) == isinstance(ours, dict)
    assert isinstance(theirs, tuple | list) == isinstance(ours, tuple | list)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif theirs is None:
        assert ours is None
    elif isinstance(theirs, torch.Tensor):
        assert isinstance(ours, torch.Tensor)
        torch.testing.assert_close(ours, theirs)
    else:
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_nested_outputs_are_put_together_alike(build):
    theirs, ours = (build(library).predict(ROWS) for library in BOTH)
    assert_same(ours.predictions, theirs.predictions)
    assert_same(ours.label_ids, theirs.label_ids)
    assert set(without_speed(ours.metrics)) == set(without_speed(theirs.metrics)) == {"test_loss"}


@pytest.mark.parametrize("ignore_keys", [["hidden"], ["hidden", "scale"], []])
def test_ignored_outputs_are_left_out_alike(build, ignore_keys):
    theirs, ours = (build(library).predict(ROWS, ignore_keys=ignore_keys) for library in BOTH)
    assert_same(ours.predictions, theirs.predictions)


def test_a_prefix_names_the_metrics_alike(build):
    score = lambda prediction: {"score": np.float32(0.5), "probe_kept": torch.tensor(2)}  # noqa: E731
    theirs, ours = (
        build(library, compute_metrics=score).predict(ROWS, metric_key_prefix="probe").metrics for library in BOTH
    )
    assert set(ours) == set(theirs)  # model_preparation_time too
    assert ours["probe_score"] == theirs["probe_score"] == 0.5
    assert ours["probe_kept"] == theirs["probe_kept"] == 2
    assert isinstance(ours["probe_score"], float)


def test_rows_without_labels_are_predicted_alike(build):
    rows = [{"x": row["x"]} for row in ROWS]
    theirs, ours = (build(library, compute_metrics=lambda p: {"never": 1}).predict(rows) for library in BOTH)
    assert_same(ours.predictions, theirs.predictions)
    assert ours.label_ids is None
    assert without_speed(ours.metrics) == without_speed(theirs.metrics) == {}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eval_do_concat_batches": False},
        {"include_for_metrics": ["inputs"]},
        {"include_for_metrics": ["inputs", "loss"]},
        {"eval_accumulation_steps": 2},
        {"eval_accumulation_steps": 100},
    ],
    ids=str,
)
def test_compute_metrics_gets_the_same(build, options):
    seen = {}

    def metrics(prediction):
        seen[library.__name__] = list(prediction)
        return {"rows": len(prediction.label_ids)}

    for library in BOTH:
        found = build(library, compute_metrics=metrics, **options).evaluate(ignore_keys=["hidden", "scale"])
        assert found["eval_rows"] == (3 if "eval_do_concat_batches" in options else 11)
    theirs, ours = seen.values()
    assert_same(ours, theirs)


@pytest.mark.parametrize("include", [[], ["inputs"], ["loss", "inputs"]])
def test_batch_eval_metrics_get_the_same_tensors_and_the_same_end(build, include):
    class Accuracy:
        """Counts, and starts afresh once it was asked for the result."""

        def __init__(self):
            self.right = self.seen = 0
            self.calls = []

        def __call__(self, prediction, compute_result):
            self.calls.append((list(prediction), prediction.inputs, prediction.losses, compute_result))
            mask = prediction.label_ids != -100
            self.right += (prediction.predictions.argmax(-1) == prediction.label_ids)[mask].sum()
            self.seen += mask.sum()
            if compute_result:
                found = {"accuracy": self.right / self.seen, "seen": self.seen}
                self.right = self.seen = 0
                return found
            return {}

    results = []
    for library in BOTH:
        accuracy = Accuracy()
        trainer = build(library, compute_metrics=accuracy, batch_eval_metrics=True, include_for_metrics=include)
        first, second = (without_speed(trainer.evaluate(ignore_keys=["hidden", "scale"])) for _ in range(2))
        assert first == second
        results.append((accuracy.calls, first))
    (theirs, their_metrics), (ours, our_metrics) = results
    assert [end for *_, end in ours] == [end for *_, end in theirs] == [False, False, True] * 2
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one[0][:2], other[0][:2])
        for extra in (1, 2):
            if other[extra] is None:
                assert one[extra] is None
        if other[1] is not None:
            assert_same(dict(one[1]), dict(other[1]))
    assert our_metrics["eval_accuracy"] == their_metrics["eval_accuracy"]
    assert our_metrics["eval_seen"] == their_metrics["eval_seen"]


def test_prediction_of_loss_only_keeps_nothing_alike(build):
    called = []
    for library in BOTH:
        trainer = build(library, prediction_loss_only=True, compute_metrics=lambda p: called.append(p) or {})
        output = trainer.predict(ROWS)
        assert output.predictions is None
        assert output.label_ids is None
        assert set(without_speed(output.metrics)) == {"test_loss"}
        assert set(without_speed(trainer.evaluate())) == {"eval_loss"}
    assert not called


def test_logits_are_made_smaller_by_the_caller_alike(build):
    seen = {}

    def smaller(logits, labels):
        assert labels.shape == logits[0].shape[:2]
        return logits[0].argmax(-1)

    def metrics(prediction):
        seen[library.__name__] = prediction.predictions
        return {}

    for library in BOTH:
        build(library, preprocess_logits_for_metrics=smaller, compute_metrics=metrics).evaluate(ignore_keys=["scale"])
    theirs, ours = seen.values()
    assert_same(ours, theirs)


def test_several_sets_are_logged_and_told_one_by_one_alike(build):
    class Told(transformers.TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            told.append(sorted(without_speed(metrics)))

    histories = []
    for library in BOTH:
        told: list[list[str]] = []
        sets = {"a": ROWS[:5], "b": ROWS[5:]}
        trainer = build(
            library,
            eval_dataset=sets,
            callbacks=[Told()],
            max_steps=4,
            eval_strategy="steps",
            eval_steps=2,
            save_strategy="no",
            logging_strategy="no",
            metric_for_best_model="eval_b_loss",
        )
        trainer.train()
        found = trainer.evaluate()
        single = trainer.evaluate("a")
        named = trainer.evaluate({"c": ROWS[:3]})
        keys = [sorted(without_speed(entry)) for entry in trainer.state.log_history]
        histories.append((told, keys, *(sorted(without_speed(m)) for m in (found, single, named))))
    theirs, ours = histories
    assert ours == theirs


def test_the_best_of_several_sets_is_the_one_that_was_named(build):
    trainers = [
        build(
            library,
            eval_dataset={"a": ROWS[:5], "b": ROWS[5:]},
            max_steps=6,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            learning_rate=0.1,
            load_best_model_at_end=True,
            metric_for_best_model="a_loss",
        )
        for library in BOTH
    ]
    for trainer in trainers:
        trainer.train()
        losses = [entry["eval_a_loss"] for entry in trainer.state.log_history if "eval_a_loss" in entry]
        assert trainer.state.best_metric == min(losses)
    assert trainers[0].state.best_global_step == trainers[1].state.best_global_step


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1.0, 0.5], ids=str)
@pytest.mark.parametrize("greater", [True, False])
@pytest.mark.parametrize("saves", ["steps", "no"])
def test_the_first_evaluation_is_the_best_alike(build, tmp_path, value, greater, saves):
    """NaN, the worst number there is, and equals are no improvement."""
    found = []
    for library in BOTH:
        scores = iter([value, value, 0.5])
        trainer = build(
            library,
            compute_metrics=lambda p, scores=scores: {"score": next(scores)},
            max_steps=3,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy=saves,
            save_steps=1,
            metric_for_best_model="score",
            greater_is_better=greater,
        )
        trainer.train()
        best = trainer.state.best_metric
        found.append((None if best in (None, -np.inf, np.inf) else best, trainer.state.best_global_step))
    assert found[0] == found[1]


def test_evaluation_keys_before_and_after_training_are_alike(build):
    found = []
    for library in BOTH:
        trainer = build(library, max_steps=1)
        keys = [sorted(trainer.evaluate())]
        trainer.train()
        keys.append(sorted(trainer.evaluate()))
        other = build(library, max_steps=1)
        other.train()
        found.append([*keys, sorted(other.evaluate())])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options",
    [
        {"eval_strategy": "steps", "eval_steps": 2},
        {"eval_strategy": "steps", "eval_steps": 0.3},
        {"eval_strategy": "steps", "logging_steps": 3},
        {"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 5},
        {"eval_strategy": "steps", "eval_steps": 4, "eval_on_start": True},
        {"eval_strategy": "epoch"},
        {"eval_strategy": "epoch", "eval_delay": 2},
        {"eval_strategy": "epoch", "eval_delay": 1.5, "eval_on_start": True},
        {"eval_strategy": "no", "eval_on_start": False},
        {"eval_strategy": "steps", "eval_steps": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 4.5},
    ],
    ids=str,
)
def test_evaluations_come_at_the_same_steps(build, options):
    found = []
    for library in BOTH:
        settings = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "save_strategy": "no"}
        trainer = build(library, **{**settings, **options})
        trainer.train()
        found.append([(e["step"], e["epoch"]) for e in trainer.state.log_history if "eval_loss" in e])
    assert found[1] == [(step, pytest.approx(epoch)) for step, epoch in found[0]]


@pytest.mark.parametrize(("flag", "dtype"), [("bf16_full_eval", np.float32), ("fp16_full_eval", np.float16)])
def test_half_precision_evaluates_alike_and_leaves_the_weights_alone(tiny_bert, tmp_path, flag, dtype):
    folder = tiny_bert(head="sequence")
    rows = lt_trainer.AutoTokenizer.from_pretrained(folder)(["a good film", "never", "it is bad", "very dull"])
    rows = [{**{name: rows[name][i] for name in rows}, "labels": i % 2} for i in range(4)]
    found = []
    for library in BOTH:
        model = library.AutoModelForSequenceClassification.from_pretrained(folder)
        args = library.TrainingArguments(
            str(tmp_path / library.__name__), report_to="none", disable_tqdm=True, use_cpu=True, **{flag: True}
        )
        tokenizer = library.AutoTokenizer.from_pretrained(folder)
        found.append((library.Trainer(model, args, processing_class=tokenizer).predict(rows), model))
    (theirs, _), (ours, model) = found
    assert ours.predictions.dtype == theirs.predictions.dtype == dtype
    np.testing.assert_allclose(ours.predictions, theirs.predictions, atol=2e-2)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    before = lt_trainer.AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = lt_trainer.Trainer(model, lt_trainer.TrainingArguments(str(tmp_path), report_to="none", use_cpu=True))
    plain.data_collator = lt_trainer.DataCollatorWithPadding(lt_trainer.AutoTokenizer.from_pretrained(folder))
    assert np.abs(plain.predict(rows).predictions - ours.predictions).max() > 1e-5  # it was another precision
