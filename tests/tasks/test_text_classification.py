"""Text classification under a plain `lightning.Trainer`, without the facade."""

from __future__ import annotations

import sys

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSequenceClassification,
    TextClassification,
    TextClassificationData,
    Trainer,
    TrainingArguments,
)

TEXTS = ["a good film", "the plot was dull and slow", "very great", "never good", "it is bad", "a great actor"] * 5
LABELS = ["pos", "neg", "pos", "neg", "neg", "pos"] * 5

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert(head="masked"))


@pytest.fixture
def rows():
    return Dataset.from_dict({"text": TEXTS, "label": LABELS})


def data_for(folder, rows, **options):
    return TextClassificationData(folder, train=rows, validation=rows.select(range(8)), batch_size=4, **options)


def task_for(folder, data, **options):
    torch.manual_seed(0)
    return TextClassification(folder, label_names=data.label_names, learning_rate=1e-3, **options)


def lightning(tmp_path, **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet, **options)


def test_a_plain_lightning_trainer_fits_validates_and_predicts(folder, rows, tmp_path):
    data = data_for(folder, rows)
    task = task_for(folder, data)
    trainer = lightning(tmp_path, max_epochs=2)
    trainer.fit(task, datamodule=data)
    assert trainer.global_step == 16
    assert {"train_loss", "val_loss", "val_accuracy"} <= set(trainer.callback_metrics)
    found = trainer.predict(task, datamodule=data)
    answers = [row for batch in found for row in batch]
    assert len(answers) == 8
    assert {row["label"] for row in answers} <= {"neg", "pos"}
    assert all(0.5 <= row["score"] <= 1 for row in answers)
    assert task.config.id2label == {0: "neg", 1: "pos"}


def test_validation_metrics_are_over_every_row_once(folder, rows, tmp_path):
    data = data_for(folder, rows, eval_batch_size=3)
    task = task_for(folder, data)
    metrics = lightning(tmp_path).validate(task, datamodule=data, verbose=False)[0]
    task.eval()
    with torch.no_grad():
        batch = data.collate([data.eval_dataset[i] for i in range(8)])
        outputs = task.model(**batch)
    assert metrics["val_loss"] == pytest.approx(float(outputs.loss), rel=1e-5)
    assert metrics["val_accuracy"] == pytest.approx(
        float((outputs.logits.argmax(-1) == batch["labels"]).float().mean())
    )


def test_plain_lightning_and_the_facade_make_the_same_steps(folder, rows, tmp_path):
    data = data_for(folder, rows, accumulation=2)
    task = task_for(folder, data)
    lightning(tmp_path, max_epochs=2).fit(task, datamodule=data)
    other = task_for(folder, data)
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model=other.model, args=args, train_dataset=data.train_dataset, data_collator=data.collate).train()
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_pairs_of_texts_are_read_from_two_columns(folder):
    rows = Dataset.from_dict({"a": ["good", "bad"], "b": ["film", "plot"], "label": [0, 1]})
    data = TextClassificationData(folder, train=rows, text_column="a", text_pair_column="b")
    data.setup()
    expected = data.tokenizer("good", "film")
    assert data.train_dataset[0]["input_ids"] == expected["input_ids"]
    assert data.train_dataset[0]["token_type_ids"] == expected["token_type_ids"]


def test_several_labels_a_row_train_and_come_back_in_words(folder, tmp_path):
    tags = [
        ["good"] if "great" in text or "good" in text else ["bad", "dull"] if "dull" in text else [] for text in TEXTS
    ]
    rows = Dataset.from_dict({"text": TEXTS, "label": tags})
    data = data_for(folder, rows)
    assert data.problem_type == "multi_label_classification"
    assert data.label_names == ["bad", "dull", "good"]
    torch.manual_seed(0)
    task = TextClassification(folder, label_names=data.label_names, problem_type=data.problem_type, learning_rate=5e-3)
    trainer = lightning(tmp_path, max_epochs=20)
    trainer.fit(task, datamodule=data)
    assert data.eval_dataset[1]["labels"] == [1.0, 1.0, 0.0]
    assert float(trainer.callback_metrics["val_f1"]) == 1.0
    assert float(trainer.callback_metrics["val_accuracy"]) == 1.0
    found = [row for batch in trainer.predict(task, datamodule=data) for row in batch]
    assert [set(row["labels"]) for row in found] == [set(row) for row in tags[:8]]
    assert all(0.5 < score <= 1 for row in found for score in row["scores"])


def test_numbers_are_learnt_and_come_back_as_numbers(folder, tmp_path):
    rows = Dataset.from_dict({"text": TEXTS, "label": [1.5 if label == "pos" else -0.5 for label in LABELS]})
    data = data_for(folder, rows)
    assert (data.problem_type, data.num_labels) == ("regression", 1)
    torch.manual_seed(0)
    task = TextClassification(folder, num_labels=1, problem_type="regression", learning_rate=5e-3)
    trainer = lightning(tmp_path, max_epochs=8)
    trainer.fit(task, datamodule=data)
    metrics = trainer.callback_metrics
    assert float(metrics["val_mse"]) == pytest.approx(float(metrics["val_loss"]), rel=1e-4)
    assert float(metrics["val_mse"]) < 0.1
    found = [row["value"] for batch in trainer.predict(task, datamodule=data) for row in batch]
    assert found == pytest.approx([1.5, -0.5, 1.5, -0.5, -0.5, 1.5, 1.5, -0.5], abs=0.8)


def test_the_report_says_what_was_cut_and_what_padding_would_cost(folder, rows):
    data = data_for(folder, rows, max_length=5)
    data.setup()
    report = data.reports["validation"]
    whole = [len(ids) for ids in data.tokenizer(TEXTS[:8])["input_ids"]]
    assert (report.counts.rows, report.counts.truncated) == (8, sum(length > 5 for length in whole))
    lengths = [len(ids) for ids in data.eval_dataset["input_ids"]]
    positions = 4 * max(lengths[:4]) + 4 * max(lengths[4:])
    assert report.padding == pytest.approx(1 - sum(lengths) / positions)
    assert str(report).startswith(f"validation: 8 rows, {report.counts.truncated} of them cut; ")


def test_a_value_that_is_no_text_is_named_with_its_row(folder):
    rows = Dataset.from_dict({"text": ["fine"] * 1500 + [None], "label": [0, 1] * 750 + [0]})
    with pytest.raises(ValueError, match="train, row 1500: expected text in column 'text', received None"):
        TextClassificationData(folder, train=rows).setup()


def test_an_iterable_data_set_is_tokenized_as_it_comes(folder, rows):
    data = TextClassificationData(
        folder,
        train=rows.to_iterable_dataset(),
        label_names=["neg", "pos"],
        problem_type="single_label_classification",
    )
    data.setup()
    expected = data_for(folder, rows)
    expected.setup()
    assert list(data.train_dataset) == expected.train_dataset.to_list()


def test_long_rows_are_cut(folder, rows):
    data = data_for(folder, rows, max_length=4)
    data.setup()
    assert max(map(len, data.train_dataset["input_ids"])) == 4


def test_files_are_read(folder, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\ngood,1\nbad,0\n")
    data = TextClassificationData(folder, train=str(tmp_path / "train.csv"))
    data.setup()
    assert data.num_labels == 2
    assert data.train_dataset["labels"][:] == [1, 0]


def test_a_missing_text_column_lists_those_there_are(folder, rows):
    with pytest.raises(ValueError, match=r"column 'sentence' is not there: .*\['text', 'label'\].*text_column"):
        data_for(folder, rows, text_column="sentence").setup()


def test_a_split_that_was_not_given_is_named(folder, rows):
    data = TextClassificationData(folder, train=rows)
    data.setup()
    with pytest.raises(ValueError, match="no validation rows"):
        data.val_dataloader()


def test_the_folder_at_the_top_is_a_link_that_nobody_can_import(monkeypatch):
    import importlib

    monkeypatch.setattr(sys, "path", [*sys.path, "."])
    with pytest.raises(ImportError, match=r"lt_trainer\.tasks"):
        importlib.import_module("tasks")


def test_a_model_that_is_given_is_used_as_it_is(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    assert TextClassification(model).model is model


@pytest.fixture
def trained(folder):
    return TextClassification(folder, label_names=["bad", "fine", "good"])


def test_records_are_labels_in_words_with_their_probability(trained):
    logits = np.array([[0.0, 0.0, np.log(2.0)], [1000.0, 0.0, 0.0]])
    first, second = trained.records(logits)
    assert first == {"label": "good", "score": pytest.approx(0.5)}
    assert second == {"label": "bad", "score": 1.0}


def test_the_classes_of_a_trained_model_come_in_the_order_of_their_numbers(trained):
    assert trained.label_names == ["bad", "fine", "good"]


def test_a_trained_model_numbers_the_classes_of_rows_that_hold_only_some(trained, folder):
    rows = Dataset.from_dict({"text": ["a good film"], "label": ["good"]})
    data = TextClassificationData(folder, test=rows)
    trained.prepare_data_module(data)
    data.setup()
    assert data.test_dataset["labels"][:] == [2]
