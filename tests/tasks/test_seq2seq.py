"""Translation from raw rows: by the facade, by a plain `lightning.Trainer`, by the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSeq2SeqLM,
    Seq2Seq,
    Seq2SeqData,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)
from lt_trainer.cli import main
from tests import writers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)
ROWS = writers.pairs(24)
QUIET: dict[str, Any] = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
SCORES = {"bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "gen_len"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(writers.write_t5(tmp_path / "t5"))


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return lambda **changes: TrainingArguments(
        **{"output_dir": str(tmp_path / "run"), "num_train_epochs": 30, "learning_rate": 1e-2, **QUIET, **changes}
    )


def lightning(tmp_path: Path, **options: Any) -> pl.Trainer:
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, **dict.fromkeys(names, False), **options)


# --- by the facade ----------------------------------------------------------------------------------------------------


def test_a_name_and_raw_rows_are_enough(folder: str, arguments: Callable[..., TrainingArguments]) -> None:
    trainer = Trainer(task="seq2seq", model=folder, args=arguments(), train_dataset=ROWS, eval_dataset=ROWS)
    before = trainer.evaluate()
    trainer.train()
    metrics = trainer.evaluate()
    assert {f"eval_{name}" for name in SCORES} <= metrics.keys()
    assert metrics["eval_loss"] < before["eval_loss"] / 2
    assert metrics["eval_chrf"] > before["eval_chrf"] + 30
    predicted = trainer.predict([{"source": row["source"]} for row in ROWS])
    assert predicted.label_ids is None
    texts = [record["text"] for record in trainer.task.records(predicted.predictions)]
    assert sum(text == row["target"] for text, row in zip(texts, ROWS, strict=True)) >= 8


def test_metrics_are_those_of_the_texts_that_are_written(
    folder: str, arguments: Callable[..., TrainingArguments]
) -> None:
    from lt_trainer.metrics.texts import ChrF

    trainer = Trainer(task="seq2seq", model=folder, args=arguments(), train_dataset=ROWS, eval_dataset=ROWS)
    metrics, predicted = trainer.evaluate(), trainer.predict(ROWS)
    texts = [record["text"] for record in trainer.task.records(predicted.predictions)]
    reference = ChrF()
    reference.update(texts, [row["target"] for row in ROWS])
    assert metrics["eval_chrf"] == pytest.approx(float(reference.compute()))
    tokens = [len(row[(row != 0) & (row != -100)]) for row in predicted.predictions]
    assert metrics["eval_gen_len"] == pytest.approx(np.mean(tokens))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_an_evaluation_may_write_for_the_first_rows_alone(
    folder: str, arguments: Callable[..., TrainingArguments], monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    args = arguments(per_device_eval_batch_size=batch_size)
    rows, few = ROWS[:12], ROWS[:7]
    whole = Trainer(task=Seq2Seq(folder), args=args, eval_dataset=rows)
    some = Trainer(task=Seq2Seq(folder, generate_max_examples=7), args=args, eval_dataset=rows)
    expected, found = whole.evaluate(few), some.evaluate()
    assert found["eval_predicted_rows"] == 7
    assert {name: found[f"eval_{name}"] for name in SCORES} == {name: expected[f"eval_{name}"] for name in SCORES}
    assert found["eval_loss"] == pytest.approx(whole.evaluate()["eval_loss"], rel=1e-6)
    assert "eval_predicted_rows" not in expected
    assert len(some.predict(rows).predictions) == 12  # who asks for predictions gets all of them


def test_a_plain_lightning_trainer_writes_for_the_first_rows_alone_too(folder: str, tmp_path: Path) -> None:
    data = Seq2SeqData(folder, validation=ROWS[:9], batch_size=4)
    metrics = lightning(tmp_path).validate(Seq2Seq(folder, generate_max_examples=5), datamodule=data, verbose=False)[0]
    assert metrics["val_predicted_rows"] == 5
    with pytest.raises(ValueError, match="generate_max_examples=0: expected 1 row or more"):
        Seq2Seq(folder, generate_max_examples=0)


def test_targets_are_written_no_longer_than_they_may_be(
    folder: str, arguments: Callable[..., TrainingArguments]
) -> None:
    data = {"max_target_length": 3}
    trainer = Trainer(task="seq2seq", model=folder, args=arguments(), train_dataset=ROWS, data=data)
    assert trainer.predict(ROWS).predictions.shape[1] <= 4  # the start token, and three
    assert max(map(len, trainer.train_dataset["labels"])) == 3


def test_the_seq2seq_trainer_takes_the_task_too(folder: str, tmp_path: Path) -> None:
    args = Seq2SeqTrainingArguments(
        str(tmp_path / "run"), predict_with_generate=True, generation_max_length=4, generation_num_beams=2, **QUIET
    )
    trainer = Seq2SeqTrainer(task="seq2seq", model=folder, args=args, train_dataset=ROWS, eval_dataset=ROWS)
    assert trainer.evaluate(min_new_tokens=3)["eval_gen_len"] <= 3
    assert trainer.evaluate(max_new_tokens=1)["eval_gen_len"] <= 1


def test_a_trained_model_measures_with_the_tokenizer_of_its_folder(
    folder: str, arguments: Callable[..., TrainingArguments], tmp_path: Path
) -> None:
    trainer = Trainer(task="seq2seq", model=folder, args=arguments(max_steps=2), train_dataset=ROWS)
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    again = Trainer(task="seq2seq", model=str(tmp_path / "saved"), args=arguments(), eval_dataset=ROWS)
    expected = trainer.evaluate(ROWS)
    found = again.evaluate()
    assert {k: found[k] for k in ("eval_loss", "eval_chrf", "eval_gen_len")} == pytest.approx(
        {k: expected[k] for k in ("eval_loss", "eval_chrf", "eval_gen_len")}
    )


def test_without_generation_there_is_the_loss_alone(folder: str, arguments: Callable[..., TrainingArguments]) -> None:
    task = Seq2Seq(folder, predict_with_generate=False)
    trainer = Trainer(task=task, args=arguments(), train_dataset=ROWS, eval_dataset=ROWS)
    metrics = trainer.evaluate()
    assert "eval_loss" in metrics
    assert not {f"eval_{name}" for name in SCORES} & metrics.keys()


def test_built_in_sentences_are_learnt_from_scratch(arguments: Callable[..., TrainingArguments]) -> None:
    from lt_trainer.data.builtin import load_builtin

    rows = load_builtin("seq2seq")
    args = arguments(num_train_epochs=1, learning_rate=2e-3, per_device_train_batch_size=16, warmup_ratio=0.1)
    train, evaluation = rows["train"].select(range(640)), rows["eval"].select(range(32))
    trainer = Trainer(task="seq2seq", model="scratch", args=args, train_dataset=train, eval_dataset=evaluation)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before / 1.5


# --- by a plain lightning.Trainer ------------------------------------------------------------------------------------


def test_a_plain_lightning_trainer_fits_validates_and_predicts(folder: str, tmp_path: Path) -> None:
    data = Seq2SeqData(folder, train=ROWS, validation=ROWS[:9], batch_size=8, max_target_length=9)
    torch.manual_seed(0)
    task = Seq2Seq(folder, tokenizer=data.tokenizer, max_new_tokens=9, learning_rate=1e-2)
    trainer = lightning(tmp_path, max_epochs=30)
    trainer.fit(task, datamodule=data)
    assert {"train_loss", "val_loss", *(f"val_{name}" for name in SCORES)} <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["val_chrf"] > 30
    answers = [row for batch in trainer.predict(task, datamodule=data) for row in batch]
    written = task.model.generate(**data.tokenizer([ROWS[0]["source"]], return_tensors="pt"), max_new_tokens=9)
    assert answers[0] == {"text": data.tokenizer.decode(written[0], skip_special_tokens=True)}
    assert len(answers) == 9


def test_plain_lightning_and_the_facade_make_the_same_steps(
    folder: str, arguments: Callable[..., TrainingArguments], tmp_path: Path
) -> None:
    args = arguments(num_train_epochs=2)
    facade = Trainer(task="seq2seq", model=folder, args=args, train_dataset=ROWS)
    facade.train()
    torch.manual_seed(args.seed)
    data, task = Seq2SeqData(folder, train=ROWS), Seq2Seq(folder, learning_rate=1e-2)
    lightning(tmp_path, max_epochs=2, limit_val_batches=0).fit(task, train_dataloaders=loader_of(data))
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, facade.model.state_dict()[name]), name


def loader_of(data: Seq2SeqData) -> Any:
    data.setup()
    return data.train_dataloader()


def test_the_tokenizer_is_that_of_the_models_folder(folder: str) -> None:
    assert Seq2Seq(folder).texts_of(np.array([[0, 3, 1, -100]])) == [Seq2Seq(folder).tokenizer.decode([3])]
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.config.name_or_path = ""
    with pytest.raises(ValueError, match=r"expected tokenizer=.*beside a model that was not loaded from a folder"):
        Seq2Seq(model).texts_of(np.array([[0]]))


def test_an_unknown_metric_is_named(folder: str) -> None:
    with pytest.raises(ValueError, match="text_metrics: expected some of bleu, chrf, rouge, received 'meteor'"):
        Seq2Seq(folder, text_metrics=["meteor"])
    assert set(Seq2Seq(folder, text_metrics=["rouge"]).metrics) == {"rouge", "gen_len"}


# --- rows -------------------------------------------------------------------------------------------------------------


def test_sources_get_their_prefix_and_both_sides_are_cut(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"en": "one two three", "de": "eins"}, {"en": "one", "de": "eins zwei drei"}, {"en": "two", "de": "zwei"}]
    data = Seq2SeqData(
        folder,
        train=rows,
        source_column="en",
        target_column="de",
        source_prefix="eight ",
        max_source_length=4,
        max_target_length=3,
    )
    data.setup()
    encoded = data.tokenizer("eight one two")["input_ids"]
    assert data.train_dataset[0]["input_ids"] == encoded
    assert data.train_dataset[1]["labels"] == data.tokenizer("eins zwei")["input_ids"]
    assert data.reports["train"].counts.truncated == 2
    assert "2 of them cut" in caplog.text


def test_pad_positions_of_labels_are_no_targets(folder: str) -> None:
    data = Seq2SeqData(folder, train=[{"source": "one", "target": "eins"}, {"source": "one", "target": "eins zwei"}])
    data.setup()
    batch = data.collate([data.train_dataset[0], data.train_dataset[1]])
    assert batch["labels"][0].tolist() == [*data.train_dataset[0]["labels"], -100]


def test_entries_of_a_column_of_dicts_are_columns(folder: str) -> None:
    rows = Dataset.from_list([{"translation": {"en": row["source"], "de": row["target"]}} for row in ROWS])
    columns = {"source_column": "translation.en", "target_column": "translation.de"}
    nested, plain = Seq2SeqData(folder, train=rows, **columns), Seq2SeqData(folder, train=ROWS)
    nested.setup()
    plain.setup()
    assert nested.train_dataset[:] == plain.train_dataset[:]
    assert set(nested.texts()) == set(plain.texts())


@pytest.mark.parametrize("column", ["source_column", "target_column"])
def test_a_missing_column_lists_those_there_are(folder: str, column: str) -> None:
    data = Seq2SeqData(folder, train=ROWS, **{column: "texts"})
    message = rf"train: column 'texts' is not there: expected one of \['source', 'target'\]; name it in {column}"
    with pytest.raises(ValueError, match=message):
        data.setup()


def test_a_file_is_told_the_arguments_of_the_task(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("english,german\none,eins\n")
    for given, column in (
        ({}, "source_column"),
        ({"source_column": "english", "target_column": "deutsch"}, "target_column"),
    ):
        with pytest.raises(ValueError, match=rf"expected one of \['english', 'german'\]; name it in {column}"):
            Seq2SeqData(folder, train=str(path), **given).setup()


def test_entries_of_a_files_dicts_are_columns(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"translation": {"en": "one", "de": "eins"}}\n{"translation": {"en": "two", "de": ""}}\n')
    columns = {"source_column": "translation.en", "target_column": "translation.de"}
    with pytest.raises(
        ValueError, match=r"rows.jsonl:2: expected a label in column 'translation.de', received nothing"
    ):
        Seq2SeqData(folder, train=str(path), **columns).setup()
    path.write_text('{"translation": {"en": "one", "de": "eins"}}\n')
    data = Seq2SeqData(folder, train=str(path), **columns)
    data.setup()
    assert len(data.train_dataset) == 1


@pytest.mark.parametrize("column", ["source", "target"])
def test_a_row_without_a_text_is_named(folder: str, column: str) -> None:
    rows = [*ROWS[:2], {**ROWS[2], column: None}]
    with pytest.raises(ValueError, match=f"validation, row 2: expected text in column '{column}', received None"):
        Seq2SeqData(folder, validation=rows).setup()


def test_rows_to_train_on_without_targets_are_refused_before_a_step(
    folder: str, arguments: Callable[..., TrainingArguments]
) -> None:
    with pytest.raises(ValueError, match="train: column 'target' is not there"):
        Trainer(task="seq2seq", model=folder, args=arguments(), train_dataset=[{"source": "one"}])


def test_a_tokenizer_that_does_not_belong_to_the_model_is_refused(folder: str, tmp_path: Path) -> None:
    larger = writers.write_t5(tmp_path / "larger", [*writers.NUMBERS, *writers.ZAHLEN, "nine", "neun"])
    with pytest.raises(ValueError, match="the tokenizer does not belong to the model"):
        Trainer(
            task="seq2seq",
            model=folder,
            processing_class=str(larger),
            args=TrainingArguments(str(tmp_path), **QUIET),
            train_dataset=ROWS,
        )


# --- by the command line ----------------------------------------------------------------------------------------------


def test_the_ready_configuration_fits_measures_and_writes(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("train", ROWS), ("dev", ROWS[:6])):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    files = ["--train_file", tmp_path / "train.jsonl", "--validation_file", tmp_path / "dev.jsonl"]
    made = ["--model", folder, *files, "--source_prefix", "", "--output_dir", tmp_path / "run", "--max_steps", 4]
    assert run("fit", "-c", "seq2seq", *made, "--eval_strategy", "no", "--load_best_model_at_end", "false") == 0
    results = json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert {"eval_bleu", "eval_chrf", "eval_gen_len", "eval_loss"} <= results.keys()
    assert (tmp_path / "run" / "generation_config.json").is_file()
    config = tmp_path / "run" / "config.yaml"
    capsys.readouterr()
    assert run("validate", "-c", config) == 0
    measured = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    assert measured["eval_chrf"] == f"{results['eval_chrf']:.6g}"
    (tmp_path / "new.jsonl").write_text(json.dumps({"source": "one two"}) + "\n")
    assert run("predict", "-c", config, "--test_file", tmp_path / "new.jsonl") == 0
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert answer.keys() == {"row", "text"}


def test_the_ready_configuration_learns_built_in_sentences(tmp_path: Path) -> None:
    made = ["--model", "scratch", "--dataset", "builtin", "--source_prefix", "", "--learning_rate", "2e-3"]
    few = ["--max_steps", 3, "--eval_strategy", "no", "--load_best_model_at_end", "false", "--num_beams", 1]
    assert run("fit", "-c", "seq2seq", *made, *few, "--output_dir", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "all_results.json").read_text())["eval_loss"] > 0


def run(*argv: object) -> int:
    return main([str(token) for token in argv])
