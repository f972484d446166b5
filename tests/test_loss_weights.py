"""Label smoothing, weights of classes and weights of targets: a whole step and a whole evaluation, by hand in torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F

import lt_trainer
from lt_trainer.criterion import Criterion, spread
from lt_trainer.data.collators import DataCollatorForSeq2Seq, DataCollatorForTokenClassification
from lt_trainer.data.language import DataCollatorForLanguageModeling
from lt_trainer.data.texts import TextsCollator, joined
from lt_trainer.losses import linear_cross_entropies
from lt_trainer.objective import count_targets, generated, model_loss
from tests.families import batch_of, options_of, pair
from tests.tasks.language import TEXTS, WORDS, arguments, byte_tokenizer, tiny_gpt2
from tests.test_criterion import WEIGHTS, write_models

if TYPE_CHECKING:
    from pathlib import Path

HEADS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM", "CausalLM", "Seq2SeqLM")
LENGTHS = (9, 2, 5, 17, 4, 6, 8, 3)
STEPS = [(8, 1), (2, 4)]  # rows of a micro-batch, micro-batches of a step


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_models(tmp_path_factory.mktemp("models"))


def models_and_batch(folders: dict[str, Any], head: str) -> tuple[Any, Any, dict[str, Any]]:
    family = {"CausalLM": "gpt2", "Seq2SeqLM": "t5"}.get(head, "bert")
    ours, theirs = pair(folders[family], head, **options_of(head))
    batch = batch_of("MaskedLM" if head == "Seq2SeqLM" else head, "right", LENGTHS)
    if head == "Seq2SeqLM":  # a row's targets stand together
        batch["labels"] = batch["input_ids"].roll(1, 0).where(batch["attention_mask"].roll(1, 0) == 1, -100)
    return ours, theirs, batch


def weights_of(batch: dict[str, Any], kind: str) -> torch.Tensor:
    """Of rows, or beside each label; some are 0."""
    shape = batch["input_ids"].shape
    torch.manual_seed(1)
    weights = torch.rand(shape[:1] if kind == "rows" else shape) * 3
    return weights * (torch.rand(weights.shape) < 0.8)


def by_hand(
    theirs: Any, batch: dict[str, Any], head: str, smoothing: float, weights: Any, classes: Any = None
) -> float:
    """sum(w * l) / sum(w) over the targets, l as torch has it."""
    with torch.no_grad():
        outputs = theirs(**batch)
    if head == "QuestionAnswering":
        sides = [(outputs[f"{name}_logits"], batch[f"{name}_positions"]) for name in ("start", "end")]
    elif head == "CausalLM":
        sides = [(outputs.logits[:, :-1], batch["labels"][:, 1:])]
        weights = weights if weights is None or weights.ndim == 1 else weights[:, 1:]
    else:
        sides = [(outputs.logits, batch["labels"])]
    total = count = 0.0
    for logits, labels in sides:
        options = {"reduction": "none", "label_smoothing": smoothing}
        each = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), classes, **options)
        w = torch.ones(labels.shape) if weights is None else spread(weights, labels.shape)
        valid = labels != -100
        w = w * valid if classes is None else w * valid * classes[labels.clamp(min=0)]
        scale = (w if classes is None else w / classes[labels.clamp(min=0)]).reshape(-1)
        total, count = total + float((each * scale).sum()), count + float(w.sum())
    return total / count


def whole_step(model: Any, batch: dict[str, Any], folder: Path, step: tuple[int, int], **options: Any) -> Any:
    """The training loss of one step over all rows, and the metrics of an evaluation before it."""
    args = lt_trainer.TrainingArguments(
        str(folder), max_steps=1, per_device_train_batch_size=step[0], gradient_accumulation_steps=step[1],
        per_device_eval_batch_size=3, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1,
        use_cpu=True, **options,
    )  # fmt: skip
    rows = [{name: values[i].tolist() for name, values in batch.items()} for i in range(len(LENGTHS))]
    collate = lt_trainer.default_data_collator
    trainer = lt_trainer.Trainer(model, args, train_dataset=rows, eval_dataset=rows, data_collator=collate)
    metrics = trainer.evaluate()
    return trainer.train().training_loss, metrics


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("head", HEADS)
def test_smoothing_of_a_whole_step_is_torchs(folder: Any, tmp_path: Path, head: str, step: Any) -> None:
    ours, theirs, batch = models_and_batch(folder, head)
    loss, metrics = whole_step(ours, batch, tmp_path / "run", step, label_smoothing_factor=0.1)
    expected = by_hand(theirs, batch, head, 0.1, None)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    plain = next(line["unsmoothed_loss"] for line in lines if "unsmoothed_loss" in line)
    assert plain == pytest.approx(by_hand(theirs, batch, head, 0.0, None), rel=1e-5)


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("head", HEADS[:2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_of_a_whole_step_are_torchs(
    folder: Any, tmp_path: Path, head: str, step: Any, smoothing: float
) -> None:  # fmt: skip
    ours, theirs, batch = models_and_batch(folder, head)
    options = {"class_weights": WEIGHTS, "label_smoothing_factor": smoothing}
    loss, metrics = whole_step(ours, batch, tmp_path, step, **options)
    labels = batch["labels"]
    with torch.no_grad():
        logits = theirs(**batch).logits.reshape(-1, 3)
    expected = float(F.cross_entropy(logits, labels.reshape(-1), torch.tensor(WEIGHTS), label_smoothing=smoothing))
    assert (loss, metrics["eval_loss"]) == (pytest.approx(expected, rel=1e-6), pytest.approx(expected, rel=1e-6))


KINDS = [(head, "rows") for head in HEADS] + [
    (head, "tokens") for head in HEADS if head not in ("SequenceClassification", "QuestionAnswering")
]


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize(("head", "kind"), KINDS)
@pytest.mark.parametrize("library", ["native", "foreign"])
def test_weights_of_targets_of_a_whole_step(
    folder: Any, tmp_path: Path, head: str, kind: str, step: Any, library: str
) -> None:  # fmt: skip
    ours, theirs, batch = models_and_batch(folder, head)
    weights = weights_of(batch, kind)
    expected = by_hand(theirs, batch, head, 0.0, weights)
    model = ours if library == "native" else theirs
    loss, metrics = whole_step(model, {**batch, "loss_weights": weights}, tmp_path, step)
    assert (loss, metrics["eval_loss"]) == (pytest.approx(expected, rel=1e-6),) * 2


@pytest.mark.parametrize("head", HEADS)
def test_both_libraries_have_the_same_weighted_loss_and_gradient(folder: Any, head: str) -> None:
    ours, theirs, batch = models_and_batch(folder, head)
    batch = {**batch, "loss_weights": weights_of(batch, "rows")}
    norms = []
    for model in (ours, theirs):
        count = torch.tensor(count_targets(model, batch))
        loss, _ = model_loss(model, dict(batch), count, Criterion(0.1))
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        norms.append((loss.item(), gradients.norm().item()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize("options", [{"num_labels": 1}, {"problem_type": "multi_label_classification"}])
@pytest.mark.parametrize("library", [0, 1])
def test_rows_of_numbers_or_several_labels_are_weighed_too(folder: Any, options: Any, library: int) -> None:
    model = pair(folder["bert"], "SequenceClassification", **{"num_labels": 3, **options})[library]
    batch = batch_of("SequenceClassification", "right")
    labels = torch.rand(4) if "num_labels" in options else (torch.rand(4, 3) > 0.5).float()
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5])
    with torch.no_grad():
        logits = model(**{**batch, "labels": None}).logits
        each = F.mse_loss if "num_labels" in options else F.binary_cross_entropy_with_logits
        expected = each(logits.view(labels.shape), labels, reduction="none").view(4, -1).mean(1)
    batch |= {"labels": labels, "loss_weights": weights}
    loss, _ = model_loss(model, batch, torch.tensor(count_targets(model, batch)), Criterion())
    assert loss.item() == pytest.approx(float((expected * weights).sum() / weights.sum()), rel=1e-6)


def test_chunks_weigh_as_the_whole_does() -> None:
    torch.manual_seed(0)
    x, weight, labels = torch.randn(7, 4), torch.randn(9, 4), torch.tensor([0, 8, -100, 3, 3, 1, 2])
    weights = torch.tensor([1.0, 0.0, 5.0, 2.0, 0.5, 1.0, 3.0])
    gradients = []
    for chunk in (2, 100):
        inputs = [t.clone().requires_grad_() for t in (x, weight)]
        total, _, count = linear_cross_entropies(*inputs, None, labels, 0.1, chunk, weights)
        total.backward()
        gradients.append([t.grad for t in inputs])
    each = F.cross_entropy(x @ weight.T, labels, reduction="none", label_smoothing=0.1)
    assert total.item() == pytest.approx(float((each * weights).sum()))
    assert float(count) == 7.5
    torch.testing.assert_close(*gradients)
    reference = [t.clone().requires_grad_() for t in (x, weight)]
    (
        F.cross_entropy(reference[0] @ reference[1].T, labels, reduction="none", label_smoothing=0.1) * weights
    ).sum().backward()
    torch.testing.assert_close(gradients[0], [t.grad for t in reference])


def test_a_step_without_any_weight_has_no_loss(folder: Any, tmp_path: Path) -> None:
    ours, _, batch = models_and_batch(folder, "TokenClassification")
    loss, _ = whole_step(ours, {**batch, "loss_weights": torch.zeros(8)}, tmp_path, (8, 1))
    assert loss == 0.0


def test_weights_of_another_shape_are_refused(folder: Any) -> None:
    ours, _, batch = models_and_batch(folder, "TokenClassification")
    with pytest.raises(ValueError, match=r"loss_weights: expected one a row or one a label, .*received \(3,\)"):
        count_targets(ours, {**batch, "loss_weights": torch.ones(3)})


def test_what_a_model_writes_knows_no_weights(folder: Any) -> None:
    for model in models_and_batch(folder, "Seq2SeqLM")[:2]:
        batch = models_and_batch(folder, "Seq2SeqLM")[2]
        plain = generated(model, batch, {"max_new_tokens": 3})
        assert torch.equal(generated(model, {**batch, "loss_weights": torch.ones(8)}, {"max_new_tokens": 3}), plain)


# --- collators --------------------------------------------------------------------------------------------------------

ROWS = [{"input_ids": [5, 6, 7], "labels": [1, 2, 3]}, {"input_ids": [8], "labels": [4]}]


@pytest.mark.parametrize("collator", [DataCollatorForTokenClassification, DataCollatorForSeq2Seq])
def test_collators_pad_weights_beside_labels(collator: Any) -> None:
    tokenizer = byte_tokenizer(pad_token="<|end|>")
    lists = [{**row, "loss_weights": [0.5] * len(row["labels"])} for row in ROWS]
    assert collator(tokenizer)(lists)["loss_weights"].tolist() == [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]]
    numbers = [{**row, "loss_weights": 2} for row in ROWS]
    assert collator(tokenizer)(numbers)["loss_weights"].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="loss_weights: expected one beside each label, 3 at most, received 4"):
        collator(tokenizer)([{**row, "loss_weights": [1.0] * 4} for row in ROWS])


def test_language_collators_pad_weights_too() -> None:
    tokenizer = byte_tokenizer(pad_token="<|end|>")
    rows = [{"input_ids": row["input_ids"], "loss_weights": [0.5] * len(row["labels"])} for row in ROWS]
    wanted = [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]]
    assert DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)["loss_weights"].tolist() == wanted
    assert TextsCollator(0)(rows)["loss_weights"].tolist() == wanted
    assert joined(rows)["loss_weights"] == [0.5] * 4


# --- raw rows ---------------------------------------------------------------------------------------------------------


def test_a_column_of_raw_rows_weighs_what_is_made_of_them(tmp_path: Path) -> None:
    """A text of weight 2 counts as if it stood there twice, one of weight 0 as if it did not."""
    rows = [{"text": text, "much": [0, 1, 2][i % 3]} for i, text in enumerate(TEXTS[:9])]
    again = [{"text": row["text"]} for row in rows for _ in range(int(row["much"]))]
    found = []
    for given, data in ((rows, {"loss_weights_column": "much"}), (again, {})):
        model, args = tiny_gpt2(), arguments(tmp_path, max_steps=1, per_device_train_batch_size=99)
        options = {"task": "causal-lm", "model": model, "processing_class": byte_tokenizer(), "args": args}
        trainer = lt_trainer.Trainer(
            **options, data={"block_size": 32, **data}, train_dataset=given, eval_dataset=given
        )
        found.append((trainer.evaluate()["eval_loss"], trainer.train().training_loss))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_weight_that_is_no_number_is_named_by_its_row(tmp_path: Path) -> None:
    for bad in (-1.0, None):
        rows = [{"text": WORDS[0], "much": 1.0}, {"text": WORDS[1], "much": bad}]
        data = lt_trainer.CausalLMData(byte_tokenizer(), train=rows, loss_weights_column="much", block_size=32)
        with pytest.raises(
            ValueError, match=rf"train, row 1: expected a number from 0 in column 'much', received {bad}"
        ):
            data.setup()
    with pytest.raises(
        ValueError, match=r"column 'mich' is not there: .*name it in loss_weights_column; did you mean 'much'"
    ):
        lt_trainer.CausalLMData(byte_tokenizer(), train=rows, loss_weights_column="mich", block_size=32).setup()
    with pytest.raises(ValueError, match="packing='contaminated': expected another one beside loss_weights_column"):
        lt_trainer.CausalLMData(byte_tokenizer(), packing="contaminated", loss_weights_column="much")
