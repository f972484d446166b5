"""The facade: what users of `transformers.Trainer` rely on."""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ConfigurationError,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from lt_trainer.models.bert import BertForSequenceClassification

TEXTS = ["a good film", "the plot was dull and slow", "very great", "never good", "it is bad", "a great actor"] * 5
LABELS = [1, 0, 1, 0, 0, 1] * 5


@pytest.fixture
def folder(tiny_bert):
    return tiny_bert(head="masked")


@pytest.fixture
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def rows(tokenizer):
    return Dataset.from_dict({**tokenizer(TEXTS), "label": LABELS, "text": TEXTS})


def model_from(folder):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)


def make(folder, tokenizer, rows, tmp_path, *, callbacks=(), metrics=None, trainer_class=Trainer, **options):
    settings = {
        "output_dir": str(tmp_path / "run"),
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return trainer_class(
        model=model_from(folder),
        args=TrainingArguments(**{**settings, **options}),
        train_dataset=rows,
        eval_dataset=rows.select(range(7)),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=metrics,
        callbacks=list(callbacks),
    )


@pytest.fixture
def build(folder, tokenizer, rows, tmp_path):
    return lambda **options: make(folder, tokenizer, rows, tmp_path, **options)


def accuracy(prediction):
    return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


# ---- training


def test_training_runs_every_step_and_lowers_the_loss(build):
    trainer = build(num_train_epochs=6)
    output = trainer.train()
    assert output.global_step == trainer.state.global_step == 48
    assert np.mean(losses(trainer)[-8:]) < np.mean(losses(trainer)[:8])
    assert output.training_loss == pytest.approx(np.mean(losses(trainer)))
    assert {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss"} <= set(output.metrics)


def test_fractional_epochs_end_at_the_step_they_mean(build):
    trainer = build(num_train_epochs=1.5)
    assert trainer.train().global_step == 12
    assert trainer.state.epoch == pytest.approx(1.5)


def test_max_steps_cross_an_epoch(build):
    trainer = build(max_steps=10)
    assert trainer.train().global_step == 10
    assert trainer.state.epoch == pytest.approx(1.25)


def test_cutting_a_step_into_micro_batches_changes_no_loss(build):
    one, four = (
        build(per_device_train_batch_size=8),
        build(per_device_train_batch_size=2, gradient_accumulation_steps=4),
    )
    one.train()
    four.train()
    assert losses(four) == pytest.approx(losses(one), rel=1e-5)


def test_the_same_seed_gives_the_same_run_bit_for_bit(build):
    first, second = build(), build()
    first.train()
    second.train()
    assert losses(first) == losses(second)
    for (name, a), (_, b) in zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_evaluating_does_not_change_the_training(build):
    plain, evaluated = build(), build(eval_strategy="steps", eval_steps=3)
    plain.train()
    evaluated.train()
    assert losses(plain) == losses(evaluated)


def test_training_twice_from_model_init_gives_the_same_losses(folder, tokenizer, rows, tmp_path):
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, logging_steps=1, report_to="none", use_cpu=True, save_strategy="no"
    )
    trainer = Trainer(
        model_init=lambda: AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train()
    first = losses(trainer)
    trainer.train()
    assert losses(trainer) == first


def test_the_tokenizer_alone_brings_the_padding_collator(folder, tokenizer, rows, tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to="none", use_cpu=True)
    trainer = Trainer(model=model_from(folder), args=args, train_dataset=rows, tokenizer=tokenizer)
    assert trainer.train().global_step == 1


# ---- what a subclass overrides


def test_overridden_compute_loss_without_num_items_weighs_micro_batches(build):
    class Custom(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = torch.nn.functional.cross_entropy(outputs.logits, labels)
            return (loss, outputs) if return_outputs else loss

    plain = build(per_device_train_batch_size=8)
    custom = build(per_device_train_batch_size=3, gradient_accumulation_steps=1, trainer_class=Custom)
    same = build(per_device_train_batch_size=3)
    for trainer in (plain, custom, same):
        trainer.train()
    assert losses(custom) == pytest.approx(losses(same), rel=1e-5)
    assert custom.evaluate()["eval_loss"] == pytest.approx(same.evaluate()["eval_loss"], rel=1e-5)


def test_compute_loss_func_gets_outputs_labels_and_the_count(folder, tokenizer, rows, tmp_path):
    def summed(outputs, labels, num_items_in_batch=None):
        counts.append(int(num_items_in_batch))
        return torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    counts: list[int] = []
    plain = make(folder, tokenizer, rows, tmp_path, gradient_accumulation_steps=2)
    custom = make(folder, tokenizer, rows, tmp_path, gradient_accumulation_steps=2)
    custom.compute_loss_func = summed
    plain.train()
    custom.train()
    assert losses(custom) == pytest.approx(losses(plain), rel=1e-5)
    assert set(counts) == {8, 6}


def test_an_optimizer_of_the_callers_is_used(folder, tokenizer, rows, tmp_path):
    model = model_from(folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=2, logging_steps=1, report_to="none", use_cpu=True)
    trainer = Trainer(
        model=model, args=args, train_dataset=rows, processing_class=tokenizer, optimizers=(optimizer, None)
    )
    trainer.train()
    assert trainer.state.log_history[0]["learning_rate"] == 0.5


# ---- events


def test_events_come_in_the_order_of_the_documentation(build):
    class Recorder(TrainerCallback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                events.append(name)
            return super().__getattribute__(name)

    events: list[str] = []
    build(
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        callbacks=[Recorder],
    ).train()
    step = ["on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end", "on_log"]
    assert events == [
        "on_init_end",
        "on_train_begin",
        "on_epoch_begin",
        *step,
        *step,
        "on_prediction_step",
        "on_log",
        "on_evaluate",
        "on_save",
        "on_epoch_end",
        "on_log",
        "on_train_end",
    ]


def test_a_callback_can_stop_training(build):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 3
            return control

    trainer = build(callbacks=[Stop()], eval_strategy="no")
    assert trainer.train().global_step == 3


def test_a_callback_can_stop_an_epoch(build):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = True

    assert build(callbacks=[Stop], num_train_epochs=3).train().global_step == 3


def test_a_callback_can_ask_for_an_evaluation(build):
    class Ask(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_evaluate = state.global_step == 2

    trainer = build(callbacks=[Ask], max_steps=4)
    trainer.train()
    assert [e["step"] for e in trainer.state.log_history if "eval_loss" in e] == [2]


def test_early_stopping_ends_a_run_that_does_not_improve(build):
    trainer = build(
        learning_rate=0.0,
        num_train_epochs=9,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    assert trainer.train().global_step == 3 * 8


# ---- steps at which things happen


def test_evaluations_logs_and_saves_count_optimizer_steps(build, tmp_path):
    trainer = build(
        per_device_train_batch_size=3,
        gradient_accumulation_steps=3,
        max_steps=9,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=4,
    )
    trainer.train()  # 10 micro-batches an epoch: a window of one ends each
    history = trainer.state.log_history
    assert [e["step"] for e in history if "loss" in e] == [2, 4, 6, 8]
    assert [e["step"] for e in history if "eval_loss" in e] == [3, 6, 9]
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == [f"checkpoint-{i}" for i in (4, 8, 9)]


def test_shares_of_all_steps_are_resolved(build):
    trainer = build(max_steps=10, logging_steps=0.25, eval_strategy="steps", eval_steps=0.5)
    trainer.train()
    assert [e["step"] for e in trainer.state.log_history if "loss" in e] == [3, 6, 9]
    assert [e["step"] for e in trainer.state.log_history if "eval_loss" in e] == [5, 10]


# ---- evaluation and prediction


def test_evaluation_loss_does_not_depend_on_the_batch_size(build):
    values = [build(per_device_eval_batch_size=size).evaluate()["eval_loss"] for size in (1, 3, 16)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_evaluation_metrics_get_their_prefix_once(build):
    metrics = build(metrics=lambda p: {"accuracy": 0.5, "eval_f1": np.float32(0.25)}).evaluate()
    assert metrics["eval_accuracy"] == 0.5
    assert metrics["eval_f1"] == 0.25
    assert isinstance(metrics["eval_f1"], float)
    assert {"eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"} < set(metrics)


def test_predictions_are_in_row_order_with_labels_and_metrics(build, rows):
    trainer = build(metrics=accuracy)
    output = trainer.predict(rows)
    assert output.predictions.shape == (30, 2)
    assert output.label_ids.tolist() == LABELS
    assert output.metrics is not None
    assert output.metrics["test_accuracy"] == accuracy(output)["accuracy"]
    one_by_one = [trainer.predict(rows.select([i])).predictions[0] for i in (0, 29)]
    np.testing.assert_allclose(output.predictions[[0, 29]], one_by_one, rtol=1e-5, atol=1e-6)


def test_prediction_needs_no_labels(build, rows):
    output = build().predict(rows.remove_columns("label"))
    assert output.predictions.shape == (30, 2)
    assert output.label_ids is None
    assert "test_loss" not in output.metrics


def test_evaluation_needs_labels_and_says_so(build, rows):
    with pytest.raises(ValueError, match=r"eval_dataset: expected a column of labels"):
        build().evaluate(rows.remove_columns("label"))


def test_evaluation_inside_a_callback_goes_on_training(build):
    class Evaluate(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                found.append(trainer.evaluate(metric_key_prefix="inner"))

    found: list[dict[str, float]] = []
    trainer = build(callbacks=[Evaluate], max_steps=4)
    trainer.train()
    plain = build(max_steps=4)
    plain.train()
    assert math.isfinite(found[0]["inner_loss"])
    assert losses(trainer) == losses(plain)


# ---- saving


def test_the_best_model_is_loaded_at_the_end(build, tmp_path):
    scores = iter([0.1, 0.9, 0.5])
    seen = []

    def metrics(prediction):
        seen.append(prediction.predictions.copy())
        return {"score": next(scores, 0.0)}

    trainer = build(
        num_train_epochs=3,
        metrics=metrics,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="score",
    )
    trainer.train()
    assert trainer.state.best_metric == 0.9
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / "checkpoint-16")
    trainer.compute_metrics = None
    np.testing.assert_array_equal(trainer.predict(trainer.eval_dataset).predictions, seen[1])


def test_the_best_model_is_kept_where_no_save_was_due(build, tmp_path):
    scores = iter([0.1, 0.9, 0.5, 0.2])
    trainer = build(
        max_steps=8,
        metrics=lambda p: {"score": next(scores)},
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=3,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / "best")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["best", "checkpoint-8", "metrics.jsonl"]


def test_a_checkpoint_holds_the_files_of_the_public_layout(build, tmp_path):
    build(max_steps=2, save_strategy="steps", save_steps=2).train()
    names = {path.name for path in (tmp_path / "run" / "checkpoint-2").iterdir()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "manifest.json",
    }
    state = json.loads((tmp_path / "run" / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert [entry["step"] for entry in state["log_history"]] == [1, 2]


def test_a_limit_keeps_the_newest_checkpoints(build, tmp_path):
    build(max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2).train()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint-3", "checkpoint-4", "metrics.jsonl"]


def test_a_saved_model_gives_the_same_predictions(build, tmp_path, rows):
    trainer = build(max_steps=2)
    trainer.train()
    trainer.save_model(tmp_path / "final")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "final")
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "final")(TEXTS[0]) == trainer.processing_class(TEXTS[0])


def test_metrics_and_state_are_written_as_scripts_expect(build, tmp_path, capsys):
    trainer = build(max_steps=2)
    metrics = trainer.train().metrics
    assert metrics["epoch"] == pytest.approx(0.25)
    assert trainer.evaluate()["epoch"] == pytest.approx(0.25)
    trainer.log_metrics("train", {"train_loss": 0.5})
    assert "***** train metrics *****\n  train_loss = 0.5\n" in capsys.readouterr().out
    trainer.save_metrics("train", {"train_loss": 0.5})
    trainer.save_metrics("eval", {"eval_loss": 0.25})
    trainer.save_state()
    run = tmp_path / "run"
    assert json.loads((run / "eval_results.json").read_text()) == {"eval_loss": 0.25}
    assert json.loads((run / "all_results.json").read_text()) == {"train_loss": 0.5, "eval_loss": 0.25}
    assert json.loads((run / "trainer_state.json").read_text())["global_step"] == 2


def test_a_run_that_saves_nothing_leaves_its_numbers_alone(build, tmp_path):
    build(max_steps=1).train()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_tensorboard_gets_every_log_over_optimizer_steps(build, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    build(max_steps=3, report_to="tensorboard", eval_strategy="steps", eval_steps=3).train()
    events = EventAccumulator(str(tmp_path / "run" / "runs")).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3]
    assert [e.step for e in events.Scalars("eval/loss")] == [3]


# ---- bad input


def test_a_model_and_model_init_together_are_refused(folder):
    with pytest.raises(ValueError, match="exactly one of model= and model_init="):
        Trainer(model=model_from(folder), model_init=lambda: model_from(folder))
    with pytest.raises(ValueError, match="neither"):
        Trainer()


def test_evaluation_without_data_is_refused_before_training(build):
    trainer = build(eval_strategy="epoch")
    trainer.eval_dataset = None
    with pytest.raises(ConfigurationError, match="eval_strategy='epoch'"):
        trainer.train()


def test_a_label_out_of_range_names_row_and_value(build, rows):
    trainer = build()
    trainer.train_dataset = rows.map(lambda row, i: {"label": 7 if i == 21 else row["label"]}, with_indices=True)
    with pytest.raises(ValueError, match=r"train_dataset, row 21: 'label' is 7, expected 0 to 1"):
        trainer.train()


def test_a_missing_metric_for_the_best_model_lists_those_there_are(build):
    trainer = build(
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="f2"
    )
    with pytest.raises(KeyError, match=r"eval_loss.*'eval_f2'"):
        trainer.train()


def test_a_lightning_flag_that_the_arguments_decide_is_refused(build):
    trainer = build()
    trainer.lightning_flags = {"max_steps": 3}
    with pytest.raises(ValueError, match=r"\['max_steps'\]"):
        trainer.train()


def test_a_lightning_flag_of_the_callers_reaches_lightning(build):
    trainer = build(max_steps=5)
    trainer.lightning_flags = {"limit_train_batches": 2}
    trainer.train()
    assert trainer.state.global_step == 2


def test_a_collator_of_the_callers_may_tokenize_and_label(folder, tokenizer, tmp_path):
    def collate(rows):
        batch = dict(tokenizer([row["sentence"] for row in rows], padding=True, return_tensors="pt"))
        return {**batch, "labels": torch.tensor([len(row["sentence"]) % 2 for row in rows])}

    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        remove_unused_columns=False,
    )
    rows = [{"sentence": text} for text in TEXTS]
    trainer = Trainer(model=model_from(folder), args=args, train_dataset=rows, data_collator=collate)
    assert trainer.train().global_step == 2
    assert math.isfinite(trainer.evaluate(rows)["eval_loss"])


def test_a_collator_that_inherits_may_label_too(folder, tokenizer, tmp_path):
    class Labelling(DataCollatorWithPadding):
        def __call__(self, features):
            return {**super().__call__(features), "labels": torch.zeros(len(features), dtype=torch.long)}

    args = TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to="none", use_cpu=True, save_strategy="no")
    rows = [dict(tokenizer(text)) for text in TEXTS]
    trainer = Trainer(model=model_from(folder), args=args, train_dataset=rows, data_collator=Labelling(tokenizer))
    assert trainer.train().global_step == 1


def test_a_step_without_a_target_moves_nothing_and_is_no_nan(folder, tokenizer, tmp_path):
    from lt_trainer import AutoModelForMaskedLM, DataCollatorForTokenClassification

    encoded = dict(tokenizer(TEXTS))
    labels = [[-100] * len(ids) for ids in encoded["input_ids"]]
    labels[3][1] = 7
    args = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
    )
    trainer = Trainer(
        model=AutoModelForMaskedLM.from_pretrained(folder),
        args=args,
        train_dataset=Dataset.from_dict({**encoded, "labels": labels}),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.train()
    assert sum(loss > 0 for loss in losses(trainer)) == 1
    assert all(math.isfinite(loss) for loss in losses(trainer))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_subclass_of_a_native_model_with_its_own_forward_gets_padded_batches(folder, tokenizer, rows, tmp_path):
    from lt_trainer.models.bert import BertForSequenceClassification

    class Own(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask, labels=None, num_items_in_batch=None):
            assert input_ids.ndim == 2
            return super().forward(input_ids, attention_mask, labels=labels, num_items_in_batch=num_items_in_batch)

    args = TrainingArguments(output_dir=str(tmp_path), max_steps=2, report_to="none", use_cpu=True, save_strategy="no")
    model = Own.from_pretrained(folder, num_labels=2)
    trainer = Trainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer)
    assert trainer.train().global_step == 2
    assert math.isfinite(trainer.evaluate(rows)["eval_loss"])


def test_a_second_evaluation_sees_what_was_changed_after_the_first(build, rows):
    trainer = build()
    first = trainer.evaluate()
    assert trainer.evaluate()["eval_loss"] == first["eval_loss"]
    with torch.no_grad():
        trainer.model.classifier.bias.add_(torch.tensor([1.0, 0.0]))
    changed = trainer.evaluate()["eval_loss"]
    assert changed != first["eval_loss"]
    trainer.compute_loss_func = lambda outputs, labels, num_items_in_batch=None: outputs.logits.sum() * 0.0 + 2.0
    assert trainer.evaluate()["eval_loss"] == 2.0
    trainer.compute_loss_func = None
    trainer.args.per_device_eval_batch_size = 2
    assert trainer.evaluate(rows.select(range(7)))["eval_loss"] == pytest.approx(changed, rel=1e-6)
    trainer.data_collator = lambda features: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.evaluate()


def test_batches_of_an_evaluation_are_joined_and_change_no_number(build, rows, monkeypatch):
    """Each batch keeps its event and its place; the passes are fewer."""
    passes = []
    forward = BertForSequenceClassification.forward

    @functools.wraps(forward)
    def counted(self, *args, **options):
        passes.append(options["packed"].padded_shape[0])
        return forward(self, *args, **options)

    def evaluated(pass_tokens):
        monkeypatch.setattr("lt_trainer.evaluation_module.PASS_TOKENS", pass_tokens)
        events.clear(), passes.clear()
        trainer = build(callbacks=[Counter()], per_device_eval_batch_size=2)
        output = trainer.predict(rows)
        return list(passes), len(events), output

    class Counter(TrainerCallback):
        def on_prediction_step(self, args, state, control, **kwargs):
            events.append(1)

    events = []
    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    alone, joined = evaluated(0), evaluated(1024)
    num_batches = -(-len(rows) // 2)
    assert len(alone[0]) == alone[1] == joined[1] == num_batches
    assert joined[0] == [len(rows)]
    np.testing.assert_allclose(joined[2].predictions, alone[2].predictions, atol=1e-6)
    assert joined[2].label_ids.tolist() == alone[2].label_ids.tolist()
    assert joined[2].metrics["test_loss"] == pytest.approx(alone[2].metrics["test_loss"], abs=1e-6)


def test_gradient_checkpointing_changes_no_number(build):
    kept, recomputed = build(max_steps=3), build(max_steps=3, gradient_checkpointing=True)
    kept.train(), recomputed.train()
    assert recomputed.model.is_gradient_checkpointing
    assert losses(recomputed) == losses(kept)
    torch.testing.assert_close(recomputed.model.state_dict(), kept.model.state_dict())


def test_a_foreign_model_computes_activations_again_with_the_options_given(folder, rows, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    trainers = []
    for options in ({}, {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}):
        trainer = make(folder, tokenizer, rows, tmp_path, max_steps=2, **options)
        torch.manual_seed(0)
        trainer.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        trainer.train()
        trainers.append(trainer)
    assert any(getattr(m, "gradient_checkpointing", False) for m in trainers[1].model.modules())
    assert losses(trainers[1]) == pytest.approx(losses(trainers[0]), rel=1e-5)


def test_a_model_that_cannot_compute_activations_again_is_refused(build):
    trainer = build(gradient_checkpointing=True)
    trainer.model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="expected a model with gradient_checkpointing_enable"):
        trainer.train()


@pytest.mark.slow
def test_compiled_training_gives_the_losses_of_eager_training(folder, tokenizer, rows, tmp_path):
    """In a process of its own: the compiler leaves workers behind."""
    rows.save_to_disk(str(tmp_path / "rows"))
    code = f"""
import torch
from datasets import load_from_disk
from lt_trainer import *
def trained(**options):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained({str(folder)!r}, num_labels=2)
    args = TrainingArguments({str(tmp_path / "run")!r}, max_steps=6, per_device_train_batch_size=3, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True, learning_rate=1e-3, **options)
    tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})
    trainer = Trainer(model, args, DataCollatorWithPadding(tokenizer), load_from_disk({str(tmp_path / "rows")!r}))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
eager, compiled = trained(), trained(torch_compile=True)
print("RESULT", eager, compiled, torch._dynamo.utils.counters["stats"]["unique_graphs"])
assert all(abs(a - b) <= 1e-5 * abs(a) for a, b in zip(eager, compiled, strict=True))
assert 1 <= torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "RESULT" in done.stdout
