"""`Trainer(task=...)` on raw rows: by name or object, with rows from anywhere."""

from __future__ import annotations

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
from lt_trainer.tasks.base import Task

TEXTS = ["a good film", "the plot was dull", "very great", "never good", "it is bad", "a great actor"] * 4
LABELS = ["pos", "neg", "pos", "neg", "neg", "pos"] * 4
ROWS = Dataset.from_dict({"text": TEXTS, "label": LABELS})


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert())


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=8,
        learning_rate=5e-3,
        per_device_train_batch_size=6,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )


def test_a_name_and_raw_rows_are_enough(folder, args):
    trainer = Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS, eval_dataset=ROWS)
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy"] == 1.0
    assert metrics["eval_loss"] < 0.3
    assert trainer.model.config.id2label == {0: "neg", 1: "pos"}


def test_raw_rows_train_as_tokenized_ones_do(folder, args):
    raw = Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS)
    data = TextClassificationData(folder, train=ROWS)
    data.setup()
    torch.manual_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    tokenized = Trainer(model, args, data.collate, data.train_dataset)
    assert raw.train().training_loss == tokenized.train().training_loss
    for name, values in raw.model.state_dict().items():
        assert torch.equal(values, tokenized.model.state_dict()[name]), name


def test_other_rows_are_tokenized_when_they_are_evaluated_or_predicted(folder, args):
    trainer = Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS)
    other = [{"text": "a film", "label": "pos"}, {"text": "dull", "label": "neg"}]
    assert trainer.evaluate(other)["eval_samples_per_second"] > 0
    assert trainer.predict(other).predictions.shape == (2, 2)
    found = trainer.predict(Dataset.from_dict({"text": ["a film"]}))
    assert found.predictions.shape == (1, 2)
    assert "test_accuracy" not in found.metrics


def test_several_evaluation_sets_are_tokenized_each(folder, args):
    sets = {"all": ROWS, "two": ROWS.select([0, 1])}
    trainer = Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS, eval_dataset=sets)
    assert {"eval_all_accuracy", "eval_two_accuracy"} <= set(trainer.evaluate())


def test_a_trained_model_numbers_the_classes_of_rows_that_hold_only_some(folder, args, tmp_path):
    trainer = Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS)
    trainer.train()
    trainer.save_model(str(tmp_path / "trained"))
    again = Trainer(
        task="text-classification",
        model=str(tmp_path / "trained"),
        args=args,
        eval_dataset=[{"text": "great", "label": "pos"}],
    )
    assert again.eval_dataset["labels"][:] == [1]
    assert again.evaluate()["eval_accuracy"] == 1.0


def test_a_task_object_brings_its_model(folder, args):
    task = TextClassification(folder, label_names=["neg", "pos"])
    trainer = Trainer(task=task, args=args, train_dataset=ROWS, data={"max_length": 4})
    assert trainer.model is task.model
    assert max(map(len, trainer.train_dataset["input_ids"])) == 4


def test_a_data_module_brings_its_rows(folder, args):
    data = TextClassificationData(folder, train=ROWS, validation=ROWS.select([0]))
    trainer = Trainer(task="text-classification", model=folder, args=args, data=data)
    assert trainer.train_dataset is data.train_dataset
    assert "eval_accuracy" in trainer.evaluate()


def test_a_model_is_made_by_a_function(folder, args):
    def init():
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)

    trainer = Trainer(
        task="text-classification", model_init=init, args=args, train_dataset=ROWS, processing_class=folder
    )
    assert trainer.train().global_step == 32


def test_a_user_metric_stands_beside_the_task_s(folder, args):
    trainer = Trainer(
        task="text-classification",
        model=folder,
        args=args,
        train_dataset=ROWS,
        eval_dataset=ROWS,
        compute_metrics=lambda prediction: {"rows": len(prediction.label_ids)},
    )
    assert {"eval_rows", "eval_accuracy"} <= set(trainer.evaluate())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "ner", "model": "x"}, ValueError, "task 'ner': expected one of"),
        ({"task": "text-classification"}, ValueError, r"expected model=\(a name, a folder or a model\), received None"),
        ({"model": "bert"}, TypeError, "model='bert': expected a model, received a name"),
        ({"task": Task(torch.nn.Linear(1, 1))}, TypeError, "task=Task: expected a task of the registry"),
    ],
)
def test_what_is_missing_is_named(args, options, error, message):
    with pytest.raises(error, match=message):
        Trainer(args=args, train_dataset=ROWS, **options)


def test_two_models_or_two_sets_of_rows_are_refused(folder, args):
    task = TextClassification(folder, label_names=["neg", "pos"])
    with pytest.raises(ValueError, match="expected a model in the task, or as model= or model_init=, received both"):
        Trainer(task=task, model=folder, args=args, train_dataset=ROWS)
    data = TextClassificationData(folder, train=ROWS)
    with pytest.raises(ValueError, match="expected rows in data or as train_dataset and eval_dataset, received both"):
        Trainer(task=task, args=args, train_dataset=ROWS, data=data)


def test_a_model_without_a_name_needs_a_tokenizer(folder, args):
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.config.name_or_path = ""
    with pytest.raises(ValueError, match="expected processing_class="):
        Trainer(task="text-classification", model=model, args=args, train_dataset=ROWS)


def test_a_missing_target_column_is_named(folder, args):
    with pytest.raises(ValueError, match=r"label column 'stars' is not there: expected one of \['text', 'label'\]"):
        Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS, data={"label_column": "stars"})


def test_a_misspelt_argument_of_the_data_names_the_near_one(folder, args):
    message = (
        r"data=\{'lable_column': ...\}: TextClassificationData has no such argument; did you mean 'label_column'\?"
    )
    with pytest.raises(ValueError, match=message):
        Trainer(task="text-classification", model=folder, args=args, train_dataset=ROWS, data={"lable_column": "stars"})
