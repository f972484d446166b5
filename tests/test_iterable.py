"""Training and evaluation on data sets without a length."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset, IterableDataset
from torch import nn

from lt_trainer import ConfigurationError, Trainer, TrainerCallback, TrainingArguments

ROWS = [{"x": [float(i), 1.0], "labels": i % 2} for i in range(10)]


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout, self.seen = nn.Linear(2, 2), nn.Dropout(0.5), []

    def forward(self, x, labels=None):
        if self.training:
            self.seen += x[:, 0].int().tolist()
        logits = self.linear(self.dropout(x))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def stream(count=10):
    return IterableDataset.from_generator(lambda: iter(ROWS[:count]))


def make(tmp_path, dataset, name="run", callbacks=(), **options):
    settings = {"max_steps": 12, "per_device_train_batch_size": 2, "logging_steps": 1, "learning_rate": 0.1}
    settings |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    args = TrainingArguments(str(tmp_path / name), **{**settings, **options})
    return Trainer(Toy(), args, train_dataset=dataset, eval_dataset=stream(7), callbacks=list(callbacks))


def test_the_stream_is_read_again_until_max_steps(tmp_path):
    trainer = make(tmp_path, stream())
    trainer.train()
    assert trainer.state.global_step == 12
    assert trainer.model.seen == [*range(10), *range(10), 0, 1, 2, 3]


def test_epochs_and_rates_are_counted_as_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    trainer = make(tmp_path, stream())
    trainer.train()
    args = transformers.TrainingArguments(
        str(tmp_path / "theirs"),
        **{"max_steps": 12, "per_device_train_batch_size": 2, "logging_steps": 1, "learning_rate": 0.1},
        **{"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"},
    )
    theirs = transformers.Trainer(Toy(), args, train_dataset=stream())
    theirs.train()
    for key in ("epoch", "learning_rate", "step"):
        assert [e[key] for e in trainer.state.log_history[:12]] == pytest.approx(
            [e[key] for e in theirs.state.log_history[:12]], rel=1e-12
        )
    assert trainer.model.seen == theirs.model.seen


def test_a_stream_without_max_steps_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="max_steps=-1: the training data set is a stream"):
        make(tmp_path, stream(), max_steps=-1).train()


def test_grouping_by_length_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="a stream has no rows to group"):
        make(tmp_path, stream(), train_sampling_strategy="group_by_length").train()


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


@pytest.mark.parametrize("step", [3, 5, 7])
def test_a_stopped_run_goes_on_bit_for_bit_inside_and_between_passes(tmp_path, step):
    options = {"gradient_accumulation_steps": 1}
    whole = make(tmp_path, stream(), "whole", **options)
    whole.train()
    make(tmp_path, stream(), callbacks=[StopAt(step)], **options).train()
    resumed = make(tmp_path, stream(), **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.model.seen == whole.model.seen[2 * step :]
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_generator_that_is_used_up_ends_the_run(tmp_path, caplog):
    trainer = make(tmp_path, (row for row in ROWS))
    trainer.train()
    assert trainer.state.global_step == 5
    assert any("no more rows: step 5 of 12" in record.message for record in caplog.records)


def test_evaluation_reads_a_stream(tmp_path):
    trainer = make(tmp_path, ROWS)
    reference = make(tmp_path, ROWS, "other")
    reference.eval_dataset = Dataset.from_list(ROWS[:7])
    found, expected = trainer.evaluate(), reference.evaluate()
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"])
    assert (trainer.predict(stream(7)).predictions == reference.predict(ROWS[:7]).predictions).all()


def test_a_bad_row_of_a_stream_is_named_and_the_last_checkpoint_stays(tmp_path, tiny_bert):
    from lt_trainer import AutoModelForSequenceClassification

    good = {"input_ids": [5, 6], "attention_mask": [1, 1]}
    rows = [{**good, "labels": 7 if i == 21 else i % 2} for i in range(40)]
    settings = {"max_steps": 20, "per_device_train_batch_size": 2, "save_steps": 4, "report_to": "none"}
    args = TrainingArguments(str(tmp_path / "run"), use_cpu=True, disable_tqdm=True, **settings)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(head="masked"), num_labels=2)
    trainer = Trainer(model, args, train_dataset=IterableDataset.from_generator(lambda: iter(rows)))
    with pytest.raises(ValueError, match=r"row 21: 'labels' is 7, expected 0 to 1"):
        trainer.train()
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
