"""Evaluation and prediction by generating, in the public shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from lt_trainer import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    GenerationConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)
from tests import writers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval"
)
Build = "Callable[..., Seq2SeqTrainer]"
QUIET: dict[str, Any] = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return writers.write_t5(tmp_path / "t5")


def tokenized(tokenizer: Any, count: int, seed: int = 0, labels: bool = True) -> Dataset:
    rows = writers.pairs(count, seed)
    columns = dict(tokenizer([row["source"] for row in rows]))
    if labels:
        columns["labels"] = tokenizer([row["target"] for row in rows])["input_ids"]
    return Dataset.from_dict(columns)


def build_with(library: Any, folder: Path, output: Path, **changes: Any) -> Any:
    """A trainer of ours or of `transformers` on the same rows."""
    options = {name: changes.pop(name) for name in ("compute_metrics", "eval_dataset") if name in changes}
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    model = library.AutoModelForSeq2SeqLM.from_pretrained(folder)
    args = library.Seq2SeqTrainingArguments(
        **{
            "output_dir": str(output),
            "predict_with_generate": True,
            "per_device_eval_batch_size": 4,
            **QUIET,
            **changes,
        }
    )
    return library.Seq2SeqTrainer(
        model=model,
        args=args,
        data_collator=library.DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=tokenized(tokenizer, 32),
        processing_class=tokenizer,
        **{"eval_dataset": tokenized(tokenizer, 10, seed=1), **options},
    )


@pytest.fixture
def build(folder: Path, tmp_path: Path) -> Build:
    import lt_trainer

    return lambda **changes: build_with(lt_trainer, folder, tmp_path / "run", **changes)


def test_predictions_are_what_the_model_writes_row_after_row(build: Build) -> None:
    trainer = build(generation_max_length=9)
    output = trainer.predict(trainer.eval_dataset)
    assert output.predictions.shape == (10, 20)  # filled up to the length of the model's own settings
    for row, written in zip(trainer.eval_dataset, output.predictions, strict=True):
        alone = trainer.model.generate(torch.tensor([row["input_ids"]]), max_length=9)[0]
        assert written[: len(alone)].tolist() == alone.tolist()
        assert set(written[len(alone) :].tolist()) <= {0}
    assert output.label_ids.shape[0] == 10
    assert (output.label_ids[0] != -100).sum() == len(trainer.eval_dataset[0]["labels"])


def test_the_length_of_the_models_own_settings_is_filled_with_pad_tokens_and_batches_with_minus_100(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_trainer.evaluation_module.PASS_TOKENS", 1)  # batches are not joined
    trainer = build()
    trainer.model.generation_config = GenerationConfig(max_length=5, eos_token_id=1, pad_token_id=0)
    trainer.model.generate = lambda packed, **settings: torch.full((len(packed.lengths), 3 + len(packed.lengths)), 7)
    found = trainer.predict(trainer.eval_dataset).predictions  # batches of 4, 4 and 2 rows: 7, 7 and 5 columns
    assert found.shape == (10, 7)
    assert sorted(row.tolist() for row in found)[:3] == [[7, 7, 7, 7, 7, -100, -100]] * 2 + [[7] * 7]


def test_settings_of_a_call_win_over_the_arguments_and_go_with_it(build: Build) -> None:
    trainer = build(generation_max_length=4, generation_num_beams=2)
    seen = []
    write = trainer.model.generate
    trainer.model.generate = lambda packed, **settings: seen.append(settings) or write(packed=packed, **settings)
    trainer.compute_metrics = lambda prediction: {"rows": len(prediction.predictions)}
    trainer.evaluate(max_new_tokens=3)
    trainer.evaluate()
    trainer.evaluate(max_length=6, num_beams=1)
    assert [settings for i, settings in enumerate(seen) if i == 0 or settings != seen[i - 1]] == [
        {"max_new_tokens": 3, "num_beams": 2},
        {"max_length": 4, "num_beams": 2},
        {"max_length": 6, "num_beams": 1},
    ]


def test_every_set_of_several_gets_the_settings_of_the_call(build: Build) -> None:
    trainer = build()
    trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
    trainer.compute_metrics = lambda prediction: {"width": prediction.predictions.shape[1]}
    metrics = trainer.evaluate(max_new_tokens=30, min_new_tokens=30)
    assert (metrics["eval_a_width"], metrics["eval_b_width"]) == (31, 31)


def test_the_loss_is_that_of_the_targets_whatever_is_generated(build: Build, folder: Path, tmp_path: Path) -> None:
    trainer = build(compute_metrics=lambda prediction: {"rows": len(prediction.predictions)})
    plain = build(predict_with_generate=False)
    metrics = trainer.evaluate(max_new_tokens=2)
    assert metrics["eval_rows"] == 10
    assert metrics["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)


def test_the_loss_alone_generates_nothing(build: Build) -> None:
    trainer = build()
    trainer.model.generate = None
    assert "eval_loss" in trainer.evaluate()


def test_batches_are_generated_by_length_and_predictions_come_in_the_order_of_the_rows(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_trainer.evaluation_module.PASS_TOKENS", 1)
    trainer = build()
    lengths, seen = [len(row) for row in trainer.eval_dataset["input_ids"]], []
    write = trainer.model.generate
    trainer.model.generate = lambda packed, **settings: seen.extend(packed.lengths) or write(packed=packed, **settings)
    found = trainer.predict(trainer.eval_dataset, max_new_tokens=4)
    assert seen == sorted(lengths, reverse=True) != lengths
    for row, labels in zip(trainer.eval_dataset, found.label_ids, strict=True):
        assert labels[labels != -100].tolist() == row["labels"]


def test_sortish_sampler_puts_rows_of_like_length_together(build: Build) -> None:
    plain, sorted_by = build(max_steps=1), build(sortish_sampler=True, max_steps=1)
    for trainer in (plain, sorted_by):
        trainer.train_dataset = tokenized(trainer.processing_class, 400)
    spread = []
    for trainer in (plain, sorted_by):
        batches = [batch["attention_mask"].sum(dim=1) for batch in trainer.get_train_dataloader()]
        spread.append(sum(int(lengths.max() - lengths.min()) for lengths in batches) / len(batches))
    assert spread[1] < spread[0] / 2


def test_rows_without_labels_are_predicted(build: Build) -> None:
    trainer = build()
    output = trainer.predict(tokenized(trainer.processing_class, 5, seed=1, labels=False), max_new_tokens=4)
    assert output.label_ids is None
    assert output.predictions.shape == (5, 20)
    assert "test_loss" not in output.metrics


def test_without_generation_predictions_are_scores(build: Build) -> None:
    trainer = build(predict_with_generate=False)
    assert trainer.predict(trainer.eval_dataset).predictions[0].shape[0] == 10


def test_generation_learns_with_the_loss_and_its_metric_picks_the_best(build: Build) -> None:
    def exact(prediction: Any) -> dict[str, float]:
        written = prediction.predictions[:, 1 : prediction.label_ids.shape[1] + 1]
        wanted = np.where(prediction.label_ids == -100, 0, prediction.label_ids)
        return {"exact": float((written == wanted).all(axis=1).mean())}

    trainer = build(
        compute_metrics=exact,
        num_train_epochs=30,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="best",
        metric_for_best_model="exact",
        load_best_model_at_end=True,
        logging_strategy="no",
    )
    trainer.train()
    assert trainer.evaluate()["eval_exact"] == trainer.state.best_metric > 0.2


class Watching(Seq2SeqTrainer):
    """Looks at each batch, as subclasses for `transformers` do."""

    widths: tuple[int, ...] = ()

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        loss, tokens, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        self.widths += (tokens.shape[1],)
        return loss, tokens, labels


def test_a_step_of_a_subclass_gets_what_is_generated(folder: Path, tmp_path: Path) -> None:
    import lt_trainer

    plain = build_with(lt_trainer, folder, tmp_path / "plain")
    watching = Watching(plain.model, plain.args, plain.data_collator, processing_class=plain.processing_class)
    found, expected = (trainer.predict(plain.eval_dataset, max_new_tokens=6) for trainer in (watching, plain))
    assert watching.widths == (20, 20, 20)
    assert np.array_equal(found.predictions, expected.predictions)
    assert found.metrics["test_loss"] == pytest.approx(expected.metrics["test_loss"], rel=1e-6)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["object", "dict", "folder", "file"])
def test_the_settings_of_the_arguments_become_the_models_own_and_are_saved(
    build: Build, tmp_path: Path, kind: str
) -> None:
    config = GenerationConfig(max_new_tokens=3, num_beams=2, eos_token_id=1, pad_token_id=0, decoder_start_token_id=0)
    config.save_pretrained(tmp_path / "settings")
    given = {
        "object": config,
        "dict": config.to_dict(),
        "folder": str(tmp_path / "settings"),
        "file": str(tmp_path / "settings" / "generation_config.json"),
    }[kind]
    trainer = build(generation_config=given)
    assert trainer.model.generation_config == config
    assert trainer.model.generation_config is not given
    trainer.save_model(tmp_path / "saved")
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").generation_config == config


def test_settings_that_nothing_reads_are_refused_before_training(build: Build) -> None:
    with pytest.raises(ValueError, match=r"temperature=0\.5 is not read without do_sample=True"):
        build(generation_config=GenerationConfig(temperature=0.5))


def test_a_misspelt_setting_is_named(build: Build) -> None:
    trainer = build(compute_metrics=lambda prediction: {})
    with pytest.raises(TypeError, match="no setting 'max_lenght'; did you mean 'max_length'"):
        trainer.evaluate(max_lenght=3)


def test_checkpoints_hold_the_settings(build: Build, tmp_path: Path) -> None:
    trainer = build(max_steps=1, save_strategy="steps", save_steps=1, generation_config=GenerationConfig(num_beams=2))
    trainer.train()
    assert GenerationConfig.from_pretrained(tmp_path / "run" / "checkpoint-1").num_beams == 2


def test_a_model_that_cannot_write_is_refused(tiny_bert: Callable[..., Path], tmp_path: Path) -> None:
    from lt_trainer import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert())
    with pytest.raises(TypeError, match="expected a model that can generate, received BertForSequenceClassification"):
        Seq2SeqTrainer(model, Seq2SeqTrainingArguments(str(tmp_path), predict_with_generate=True, **QUIET))


def test_other_arguments_are_refused(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    with pytest.raises(TypeError, match="expected args=Seq2SeqTrainingArguments"):
        Seq2SeqTrainer(model, TrainingArguments(str(tmp_path), **QUIET))


def test_a_plain_trainer_does_not_pass_over_the_wish_to_generate(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    args = Seq2SeqTrainingArguments(str(tmp_path / "run"), predict_with_generate=True, **QUIET)
    with pytest.raises(TypeError, match="predict_with_generate=True: expected Seq2SeqTrainer"):
        Trainer(model, args, DataCollatorForSeq2Seq(tokenizer)).predict(tokenized(tokenizer, 2))


# --- beside transformers ----------------------------------------------------------------------------------------------


def to_the_end(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Without what follows an end token: in beam search `transformers` writes more of them where the pad token is 0."""
    return np.where(np.cumsum(ids == 1, axis=1) - (ids == 1) > 0, 0, ids)


def test_predictions_and_metrics_equal_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    import lt_trainer

    found = []
    for library in (lt_trainer, transformers):
        seen: list[Any] = []
        options = {"compute_metrics": lambda p, seen=seen: seen.append(p) or {"rows": len(p.predictions)}}
        options |= {"max_steps": 3, "learning_rate": 1e-2, "generation_max_length": 12}
        trainer = build_with(library, folder, tmp_path / library.__name__, **options)
        trainer.train()
        metrics = trainer.evaluate(num_beams=3)
        found.append((seen[0], metrics, trainer.predict(trainer.eval_dataset, max_new_tokens=25).predictions))
    (ours, mine, predicted), (theirs, reference, expected) = found
    assert mine.keys() == reference.keys()
    assert np.array_equal(predicted, np.where(expected == -100, 0, expected))  # a pass joins several batches
    assert np.array_equal(to_the_end(ours.predictions), to_the_end(theirs.predictions))
    widths = ours.label_ids.shape[1], theirs.label_ids.shape[1]
    both = [np.where(p.label_ids == -100, 0, p.label_ids)[:, : min(widths)] for p in (ours, theirs)]
    assert np.array_equal(*both)
    transformers.logging.set_verbosity_warning()


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_without_labels_are_refused_before_a_step(build: Build) -> None:
    trainer = build()
    trainer.train_dataset = tokenized(trainer.processing_class, 4, labels=False)
    with pytest.raises(ValueError, match="train_dataset: expected a column of labels"):
        trainer.train()


def test_a_label_that_is_no_token_is_named_before_a_step(build: Build) -> None:
    trainer = build()
    rows = [*trainer.train_dataset][:3]
    rows[2]["labels"] = [3, 999, 1]
    trainer.train_dataset = Dataset.from_list(rows)
    with pytest.raises(ValueError, match=r"train_dataset, row 2: 'labels' is 999, expected 0 to .*use the tokenizer"):
        trainer.train()
