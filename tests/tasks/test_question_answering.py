"""Context and question in, a part of the context out: by plain Lightning and by the facade."""

from __future__ import annotations

import json

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import QuestionAnswering, QuestionAnsweringData, Trainer, TrainingArguments
from lt_trainer.metrics.answers import AnswerScores
from lt_trainer.tasks.question_answering import answers_of

THINGS = ["film", "movie", "story", "actor", "plot"]
QUALITIES = ["good", "bad", "great", "dull", "funny", "slow"]
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)


def row(thing, quality, number, *, answered=True):
    context = f"it is not that the {thing} was never one of the very {quality}"
    answers = {"text": [quality], "answer_start": [context.rindex(quality)]}
    question = "is it good" if answered else "was it a"
    return {
        "id": f"q{number}",
        "context": context,
        "question": question,
        "answers": answers if answered else {"text": [], "answer_start": []},
    }


PAIRS = [(thing, quality) for thing in THINGS for quality in QUALITIES]
ROWS = Dataset.from_list([row(thing, quality, i) for i, (thing, quality) in enumerate(PAIRS)])
MIXED = Dataset.from_list([row(t, q, i, answered=i % 3 > 0) for i, (t, q) in enumerate(PAIRS)])
WINDOWS = {"max_length": 14, "doc_stride": 3}


@pytest.fixture
def folder(tiny_bert):
    return str(tiny_bert())


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=12,
        learning_rate=5e-3,
        per_device_train_batch_size=6,
        per_device_eval_batch_size=7,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )


@pytest.mark.parametrize("options", [{}, WINDOWS])
def test_plain_lightning_trains_and_answers_in_words(folder, tmp_path, options):
    data = QuestionAnsweringData(folder, train=ROWS, validation=ROWS, batch_size=6, eval_batch_size=5, **options)
    torch.manual_seed(0)
    task = QuestionAnswering(
        folder, version_2_with_negative=data.version_2_with_negative, vocab_size=data.vocab_size, learning_rate=5e-3
    )
    trainer = pl.Trainer(accelerator="cpu", max_epochs=12, default_root_dir=tmp_path, **QUIET)
    trainer.fit(task, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert (metrics["val_exact_match"], metrics["val_f1"]) == (100, 100)
    assert metrics["val_loss"] < 0.5
    found = [record for batch in trainer.predict(task, datamodule=data) for record in batch]
    assert [(record["id"], record["answer"]) for record in found] == [
        (f"q{i}", quality) for i, (_, quality) in enumerate(PAIRS)
    ]


@pytest.mark.parametrize("rows", [ROWS, MIXED], ids=["v1", "v2"])
def test_the_facade_trains_on_raw_rows(folder, args, rows):
    trainer = Trainer(
        task="question-answering", model=folder, args=args, train_dataset=rows, eval_dataset=rows, data=WINDOWS
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert {"eval_loss", "eval_exact_match", "eval_f1"} <= set(metrics)
    assert metrics["eval_exact_match"] == metrics["eval_f1"] == 100.0
    assert ("eval_NoAns_exact" in metrics) == (rows is MIXED)
    records = list(trainer.task.records(trainer.predict(rows).predictions, trainer.task_data.encoded_once(rows)))
    wanted = [(answers["text"] or [""])[0] for answers in rows["answers"]]
    assert [record["answer"] for record in records] == wanted
    assert all(sum(c["probability"] for c in record["n_best"]) == pytest.approx(1) for record in records)
    assert json.dumps(records)


@pytest.mark.parametrize("rows", [ROWS, MIXED], ids=["v1", "v2"])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_scores_are_those_of_the_answers_in_words(folder, args, rows, batch_size):
    args.per_device_eval_batch_size, args.max_steps = batch_size, 6
    trainer = Trainer(
        task="question-answering", model=folder, args=args, train_dataset=rows, eval_dataset=rows, data=WINDOWS
    )
    trainer.train()
    metrics = trainer.evaluate()
    records = trainer.task.records(trainer.predict(rows).predictions, trainer.eval_dataset)
    scores = AnswerScores(version_2=rows is MIXED)
    for record, answers in zip(records, rows["answers"], strict=True):
        scores.add(record["answer"], answers["text"])
    assert {name: metrics[f"eval_{name}"] for name in scores.compute()} == pytest.approx(scores.compute())


def test_the_loss_of_an_evaluation_is_over_windows(folder, args):
    trainer = Trainer(
        task="question-answering", model=folder, args=args, train_dataset=ROWS, eval_dataset=ROWS, data=WINDOWS
    )
    names = ("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions")
    batches = [trainer.task_data.pads([{name: row[name] for name in names}]) for row in trainer.eval_dataset]
    model = trainer.model.eval()
    with torch.no_grad():
        parts = [float(model(**batch).loss) for batch in batches]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(np.mean(parts), rel=1e-4)


def test_windows_are_those_of_the_example_script(folder):
    transformers = pytest.importorskip("transformers")
    data = QuestionAnsweringData(folder, train=MIXED, **WINDOWS)
    data.setup()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = theirs(
        MIXED["question"][:], MIXED["context"][:], truncation="only_second", max_length=14, stride=3,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    assert data.train_dataset["input_ids"][:] == encoded["input_ids"]
    positions = zip(data.train_dataset["start_positions"], data.train_dataset["end_positions"], strict=True)
    for i, (start, end) in enumerate(positions):
        answers = MIXED[encoded["overflow_to_sample_mapping"][i]]["answers"]
        inside = [k for k, sequence in enumerate(encoded.sequence_ids(i)) if sequence == 1]
        offsets, expected = encoded["offset_mapping"][i], (0, 0)
        if answers["text"]:
            first, last = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
            if offsets[inside[0]][0] <= first and offsets[inside[-1]][1] >= last:
                expected = (
                    max(k for k in inside if offsets[k][0] <= first),
                    min(k for k in inside if offsets[k][1] >= last),
                )
        assert (start, end) == expected


def test_rows_without_answers_are_answered_too(folder, args):
    rows = ROWS.remove_columns(["answers", "id"])
    trainer = Trainer(task="question-answering", model=folder, args=args, train_dataset=ROWS)
    found = trainer.predict(rows)
    records = list(trainer.task.records(found.predictions, trainer.task_data.encoded_once(rows)))
    assert [record["id"] for record in records] == [str(i) for i in range(len(ROWS))]
    assert "test_exact_match" not in found.metrics


def test_answers_may_be_a_list_of_dicts_or_missing():
    assert (
        answers_of([{"text": "a", "answer_start": 1}]) == answers_of({"text": ["a"], "answer_start": [1]}) == [("a", 1)]
    )
    assert answers_of(None) == answers_of({"text": [], "answer_start": []}) == []
    for wrong in ([{"text": "a"}], "a", {"text": ["a"], "answer_start": []}):
        with pytest.raises(ValueError, match=r"expected answers as .*, received"):
            answers_of(wrong)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"answers": {"text": ["bad"], "answer_start": [3]}},
            {},
            "train, row 0: expected the answer 'bad' at character 3 of the context, received 'is ' there: correct",
        ),
        (
            {"answers": {"text": ["it", "is"], "answer_start": [0]}},
            {},
            "row 0: expected answers as .*, as many of one as",
        ),
        ({"answers": {"text": ["it"], "answer_start": [-1]}}, {}, "row 0: expected the answer 'it' at character -1"),
        (
            {},
            {"max_length": 12, "doc_stride": 6},
            "row 0: a question of 3 tokens leaves 6 of 12 for the context",
        ),
        (
            {},
            {"answer_column": "answer"},
            "train: column 'answer' is not there: expected one of .*; name it in answer_column; did you mean 'answers'",
        ),
        (
            {},
            {"context_column": "text"},
            "train: column 'text' is not there: expected one of .*; name it in context_column",
        ),
        ({"context": None}, {}, "train, row 0: expected text in column 'context', received None"),
    ],
)
def test_rows_that_cannot_be_are_named(folder, change, options, message):
    rows = [{**ROWS[0], **change}, ROWS[1]]
    with pytest.raises(ValueError, match=message):
        QuestionAnsweringData(folder, train=rows, version_2_with_negative=False, **options).setup()


def test_a_squad_file_is_read(folder, tmp_path):
    question = {"id": "x", "question": "is it good", "answers": [{"text": "film", "answer_start": 4}]}
    content = {"data": [{"paragraphs": [{"context": "the film", "qas": [question]}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(content))
    data = QuestionAnsweringData(folder, validation=str(tmp_path / "dev.json"))
    data.setup()
    assert data.eval_dataset[0]["id"] == "x"
    assert json.loads(data.eval_dataset[0]["answers"]) == ["film"]
