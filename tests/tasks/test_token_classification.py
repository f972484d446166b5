"""Words and tags in, words and tags out: by plain Lightning and by the facade."""

from __future__ import annotations

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from lt_trainer import TokenClassification, TokenClassificationData, Trainer, TrainingArguments

WORDS = [
    ["the", "film", "in", "york"],
    ["a", "great", "actor"],
    ["it", "was", "not", "good", "in", "new", "york"],
    ["york", "is", "dull"],
] * 4
TAGS = [
    ["O", "O", "O", "B-LOC"],
    ["O", "O", "B-PER"],
    ["O", "O", "O", "O", "O", "B-LOC", "I-LOC"],
    ["B-LOC", "O", "O"],
] * 4
ROWS = Dataset.from_dict({"words": WORDS, "tags": TAGS})
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert())


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=15,
        learning_rate=5e-3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=3,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )


def ready(folder, rows=ROWS, **options):
    data = TokenClassificationData(folder, train=rows, validation=rows, **options)
    data.setup()
    return data


def test_plain_lightning_trains_and_answers_in_words(folder, tmp_path):
    data = TokenClassificationData(folder, train=ROWS, validation=ROWS, batch_size=4)
    torch.manual_seed(0)
    task = TokenClassification(folder, label_names=data.label_names, vocab_size=data.vocab_size, learning_rate=5e-3)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=15, default_root_dir=tmp_path, **QUIET)
    trainer.fit(task, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert (metrics["val_f1"], metrics["val_precision"], metrics["val_recall"], metrics["val_accuracy"]) == (1, 1, 1, 1)
    found = [row for batch in trainer.predict(task, datamodule=data) for row in batch]
    assert found == [{"words": words, "tags": tags} for words, tags in zip(WORDS, TAGS, strict=True)]


@pytest.mark.parametrize("options", [{}, {"stride": 2, "max_length": 7}, {"label_all_tokens": True}])
def test_the_facade_trains_on_raw_rows(folder, args, options):
    trainer = Trainer(
        task="token-classification", model=folder, args=args, train_dataset=ROWS, eval_dataset=ROWS, data=options
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_f1"] == metrics["eval_accuracy"] == 1.0
    assert trainer.model.config.id2label == {0: "B-LOC", 1: "B-PER", 2: "I-LOC", 3: "O"}
    rows = trainer.task_data.encoded_once(ROWS)
    found = list(trainer.task.records(trainer.predict(ROWS).predictions, rows))
    assert found == [{"words": words, "tags": tags} for words, tags in zip(WORDS, TAGS, strict=True)]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("stride", [None, 2])
def test_scores_are_those_of_seqeval_over_whole_sentences(folder, args, batch_size, stride):
    metrics = pytest.importorskip("seqeval.metrics")
    args.per_device_eval_batch_size, args.max_steps = batch_size, 12  # long enough for some tags, not for all
    options = {"stride": stride, "max_length": 7 if stride else 64}
    trainer = Trainer(
        task="token-classification", model=folder, args=args, train_dataset=ROWS, eval_dataset=ROWS, data=options
    )
    trainer.train()
    found = trainer.evaluate()
    predicted = [row["tags"] for row in trainer.task.records(trainer.predict(ROWS).predictions, trainer.eval_dataset)]
    assert 0 < found["eval_accuracy"] < 1
    assert found["eval_accuracy"] == pytest.approx(metrics.accuracy_score(TAGS, predicted), abs=1e-12)
    for name in ("precision", "recall", "f1"):
        expected = getattr(metrics, f"{name}_score")(TAGS, predicted, zero_division=0)
        assert found[f"eval_{name}"] == pytest.approx(expected, abs=1e-12)


def test_windows_that_came_to_several_processes_are_put_together(folder):
    task = TokenClassification(folder, label_names=["B-X", "I-X", "O"])
    other = TokenClassification(folder, label_names=["B-X", "I-X", "O"])
    task._take((5, ["I-X"], ["I-X"]), row=2, windows=2)
    other._take((4, ["B-X"], ["B-X"]), row=2, windows=2)

    class Driver:
        def gather(self, value):
            return [value, (other.entities.state(), dict(other._open))]

    assert task.scores(Driver()) == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "accuracy": 1.0}
    assert task.entities.by_type()["X"]["number"] == 1


def test_words_that_were_cut_off_are_counted_and_tagged_as_outside(folder, caplog):
    data = ready(folder, max_length=4)
    assert data.reports["validation"].counts.truncated == 16
    assert "validation: 40 words were cut off" in caplog.text
    assert data.eval_dataset[2]["positions"] == [1, 2, -1, -1, -1, -1, -1]
    task = TokenClassification(folder, label_names=["A", "O"])
    logits = np.zeros((len(WORDS), 4, 2))
    logits[..., 0] = 1
    assert list(task.records(logits, data.eval_dataset))[2]["tags"] == ["A", "A", "O", "O", "O", "O", "O"]


def test_only_rows_to_evaluate_keep_their_words(folder):
    data = ready(folder)
    assert set(data.train_dataset.column_names) == {"input_ids", "token_type_ids", "attention_mask", "labels", "lost"}
    assert set(data.collate([data.train_dataset[0]])) >= {"input_ids", "labels"}
    assert data.eval_dataset[0]["words"] == WORDS[0]


def test_the_columns_and_names_of_public_data_sets_are_known(folder):
    tags = Sequence(ClassLabel(names=["O", "B-X"]))
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": tags})
    rows = Dataset.from_dict({"tokens": [["a", "film"]], "ner_tags": [[0, 1]]}, features=features)
    data = ready(folder, rows)
    assert data.label_names == ["O", "B-X"]
    assert data.train_dataset["labels"][:] == [[-100, 0, 1, -100]]


def test_a_conll_file_is_read(folder, tmp_path):
    (tmp_path / "train.conll").write_text("the\tO\nfilm\tB-X\n\ngood\tO\n")
    data = TokenClassificationData(folder, train=str(tmp_path / "train.conll"))
    data.setup()
    assert (data.label_names, len(data.train_dataset)) == (["B-X", "O"], 2)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            {"words": [["a"], ["a", "b"]], "tags": [["O"], ["O"]]},
            {"label_names": ["O", "X"]},
            "train, row 1: expected a tag for each of 2 words, received 1",
        ),
        (
            {"words": [["a"], ["b"]], "tags": [["O"], ["B-X"]]},
            {"label_names": ["O", "B-Y"]},
            "row 1 has label 'B-X' in column 'tags'",
        ),
        (
            {"words": ["a b"], "tags": [["O", "O"]]},
            {"label_names": ["O", "X"]},
            "train, row 0: expected a list of words in column 'words', received 'a b'",
        ),
        (
            {"words": [["a"]]},
            {"label_names": ["O", "X"]},
            r"train: column 'tags' is not there: expected one of \['words'\]; name it in label_column",
        ),
        (
            {"text": [["a"]], "tags": [["O"]]},
            {"label_names": ["O", "X"]},
            "train: column 'words' is not there",
        ),
    ],
)
def test_rows_that_cannot_be_are_named(folder, rows, options, message):
    with pytest.raises(ValueError, match=message):
        TokenClassificationData(folder, train=Dataset.from_dict(rows), **options).setup()


def test_a_scheme_that_does_not_exist_is_refused(folder):
    with pytest.raises(ValueError, match="scheme='BIO': expected one of IOB1, IOB2"):
        TokenClassification(folder, label_names=["O", "B-X"], scheme="BIO")


def test_a_trained_model_numbers_the_tags_of_rows_that_hold_only_some(folder):
    task = TokenClassification(folder, label_names=["O", "B-X", "B-Y"])
    data = TokenClassificationData(folder, validation=[{"words": ["a"], "tags": ["B-Y"]}])
    task.prepare_data_module(data)
    data.setup()
    assert data.eval_dataset["labels"][:] == [[-100, 2, -100]]
