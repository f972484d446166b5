"""What arguments do to a run, and that `explain` said so before."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from lt_trainer import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

ROWS = [{"input_ids": [2, 5 + i, 6, 3], "attention_mask": [1] * 4, "labels": i % 2} for i in range(22)]


class Watch(TrainerCallback):
    """Notes what the run does."""

    def __init__(self) -> None:
        self.events, self.rates = [], []

    def on_train_begin(self, args, state, control, **kwargs):
        self.events.append("train")

    def on_evaluate(self, args, state, control, **kwargs):
        self.events.append("evaluate")

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append("step")
        self.rates.append(kwargs["lr_scheduler"].get_last_lr()[0])


@pytest.fixture
def build(tiny_bert, tmp_path):
    def make(**options):
        settings = {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(), num_labels=2)
        trainer_class = options.pop("trainer_class", Trainer)
        args = TrainingArguments(**{**settings, **options})
        return trainer_class(model, args, train_dataset=ROWS, eval_dataset=ROWS[:6], callbacks=[Watch()])

    return make


def watched(trainer):
    return next(c for c in trainer.callback_handler.callbacks if isinstance(c, Watch))


def numbers(text):
    """First column -> second column of `explain`."""
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) > 1}


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 2, "num_train_epochs": 1.5, "max_steps": -1, "warmup_ratio": 0.3},
        {"gradient_accumulation_steps": 3, "max_steps": 5, "warmup_steps": 2, "dataloader_drop_last": True},
        {"max_steps": 4, "bf16": True, "per_device_train_batch_size": 3, "warmup_steps": 0.5},
    ],
    ids=str,
)
def test_explained_numbers_are_those_of_the_run(build, options):
    sizes = []

    class Counting(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            sizes.append((self.state.global_step, len(inputs["labels"])))
            self.precision = self._engine.lightning.precision
            return super().training_step(model, inputs, num_items_in_batch)

    trainer = build(trainer_class=Counting, **options)
    told = numbers(trainer.args.explain(ROWS, ROWS[:6]))
    trainer.train()
    steps, epochs, per_epoch = re.fullmatch(r"(\d+) \((\S+) epochs of (\d+)\)", told["steps"]).groups()
    assert int(steps) == trainer.state.global_step == trainer.state.max_steps
    assert float(epochs) == pytest.approx(trainer.state.epoch, abs=1 / int(per_epoch))
    assert int(told["effective batch"].split()[0]) == sum(rows for step, rows in sizes if step == 0)
    assert told["precision"] == trainer.precision
    warmup = int(re.search(r"warm-up (\d+) steps", told["schedule"])[1])
    rates = watched(trainer).rates
    assert rates.index(max(rates)) == warmup
    assert max(rates) == pytest.approx(trainer.args.learning_rate)


def test_bf16_trains_on_a_cpu_without_more_flags(build):
    seen = []

    class Seeing(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            seen.append(model.classifier(torch.ones(1, 32)).dtype)
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    trainer = build(bf16=True, trainer_class=Seeing)
    assert trainer.train().global_step == 2
    assert set(seen) == {torch.bfloat16}
    assert trainer.model.classifier.weight.dtype == torch.float32


def test_eval_on_start_evaluates_before_the_first_step(build):
    trainer = build(eval_on_start=True)
    trainer.train()
    assert watched(trainer).events == ["train", "evaluate", "step", "step"]


def test_disable_tqdm_prints_in_place_of_a_bar(build, capsys):
    build(disable_tqdm=True, logging_steps=1).train()
    plain = capsys.readouterr()
    assert "'loss'" in plain.out
    assert "%|" not in plain.err
    build(disable_tqdm=False, logging_steps=1).train()
    assert "%|" in capsys.readouterr().err


def test_the_level_of_the_log_is_set_by_the_trainer(build):
    logger = logging.getLogger("lt_trainer")
    before = logger.level
    try:
        build(log_level="error")
        assert logger.level == logging.ERROR
        build()
        assert logger.level == logging.ERROR
        build(log_level="debug")
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


def test_what_has_no_effect_is_told_once(build, caplog):
    build(hub_model_id="me/model").train()
    assert [record.message for record in caplog.records if "no effect" in record.message] == [
        "hub_model_id has no effect without push_to_hub=True"
    ]


@pytest.mark.parametrize(
    "name", ["enable_jit_checkpoint", "restore_callback_states_from_checkpoint", "eval_use_gather_object"]
)
def test_what_always_happens_may_be_asked_for(build, name):
    assert build(**{name: True}).train().training_loss == build().train().training_loss


@pytest.mark.parametrize(
    ("name", "value"),
    [("do_train", True), ("do_eval", True), ("do_predict", True), ("overwrite_output_dir", True), ("local_rank", 0)],
)
def test_flags_of_scripts_are_kept_and_change_no_run(build, name, value):
    trainer = build(**{name: value})
    assert getattr(trainer.args, name) == value
    assert trainer.train().training_loss == build().train().training_loss
