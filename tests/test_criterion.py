"""Label smoothing and class weights: against torch's cross entropy, for every head, native and of `transformers`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lt_trainer.criterion import Criterion, LabelSmoother
from lt_trainer.objective import count_targets, model_loss
from tests.families import batch_of, options_of, pair, write

WEIGHTS = [0.5, 2.0, 1.0]
BERT_HEADS = ("SequenceClassification", "TokenClassification", "MaskedLM", "QuestionAnswering")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_models(tmp_path_factory.mktemp("models"))


def write_models(base: Any) -> dict[str, Any]:
    """Folders of a tiny BERT, GPT-2 and T5 without dropout."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    gpt = {"n_embd": 16, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    t5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    configs = {
        "bert": transformers.BertConfig(vocab_size=80, **sizes, **off),
        "gpt2": transformers.GPT2Config(vocab_size=80, **gpt, bos_token_id=1, eos_token_id=1),
        "t5": transformers.T5Config(vocab_size=80, **t5, decoder_start_token_id=0),
    }
    return {name: write(base / name, config, None) for name, config in configs.items()}


def models_and_batch(folder: dict[str, Any], head: str) -> tuple[Any, Any, dict[str, Any]]:
    family = {"CausalLM": "gpt2", "Seq2SeqLM": "t5"}.get(head, "bert")
    ours, theirs = pair(folder[family], head, **options_of(head))
    batch = batch_of("MaskedLM" if head == "Seq2SeqLM" else head, "right")
    return ours.train(), theirs.train(), batch


def by_torch(theirs: Any, batch: dict[str, Any], head: str, smoothing: float, weights: Any = None) -> torch.Tensor:
    """The loss as people write it: torch's own over the scores, the mean over the targets."""
    outputs = theirs(**batch)
    if head == "QuestionAnswering":
        width, losses = batch["input_ids"].shape[1], []
        for name in ("start", "end"):
            at = batch[f"{name}_positions"].clamp(0, width)
            losses.append(F.cross_entropy(outputs[f"{name}_logits"], at, ignore_index=width, label_smoothing=smoothing))
        return sum(losses) / 2
    logits, labels = outputs.logits, batch["labels"]
    if head == "CausalLM":
        logits, labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), weights, label_smoothing=smoothing)


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None])


@pytest.mark.parametrize("head", [*BERT_HEADS, "CausalLM", "Seq2SeqLM"])
@pytest.mark.parametrize("library", ["native", "foreign"])
def test_smoothing_equals_torchs_for_every_head(folder: dict[str, Any], head: str, library: str) -> None:
    ours, theirs, batch = models_and_batch(folder, head)
    model = ours if library == "native" else theirs
    criterion = Criterion(0.2)
    count = torch.tensor(count_targets(model, batch, criterion))
    loss, _ = model_loss(model, batch, count, criterion)
    expected = by_torch(theirs, batch, head, 0.2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    plain = criterion.take_plain()
    assert plain is not None
    assert float(plain / count) == pytest.approx(by_torch(theirs, batch, head, 0.0).item(), rel=1e-5)
    assert criterion.take_plain() is None
    torch.testing.assert_close(gradient(model, loss).norm(), gradient(theirs, expected).norm(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
@pytest.mark.parametrize("library", ["native", "foreign"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighed_classes_equal_torchs_mean(folder: dict[str, Any], head: str, library: str, smoothing: float) -> None:
    ours, theirs, batch = models_and_batch(folder, head)
    model = ours if library == "native" else theirs
    criterion = Criterion(smoothing, WEIGHTS)
    expected = by_torch(theirs, batch, head, smoothing, torch.tensor(WEIGHTS))
    whole, _ = model_loss(model, batch, None, criterion)
    assert whole.item() == pytest.approx(expected.item(), rel=1e-6)
    total = torch.tensor(count_targets(model, batch, criterion))
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    in_parts = sum(model_loss(model, part, total, criterion)[0].item() for part in parts)
    assert in_parts == pytest.approx(expected.item(), rel=1e-6)


def test_weights_by_hand() -> None:
    criterion = Criterion(class_weights=[1.0, 3.0])
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    total, count = criterion.cross_entropy(logits, torch.tensor([0, 1, -100]))
    assert (float(total), float(count)) == (pytest.approx(4 * torch.log(torch.tensor(2.0)).item()), 4.0)
    assert criterion.weigh(torch.tensor([[0, 1], [-100, 1]])) == 7.0


def test_padding_is_no_place_where_an_answer_may_lie() -> None:
    scores = torch.tensor([[1.0, 2.0, -torch.inf]])
    at = torch.tensor([1])
    total, _ = Criterion(0.2).span(scores, scores, at, at)
    assert float(total) == pytest.approx(float(F.cross_entropy(scores[:, :2], at, label_smoothing=0.2)))


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("count", [None, 7])
def test_the_smoother_equals_that_of_transformers(shift: bool, count: int | None) -> None:
    theirs = pytest.importorskip("transformers.trainer_pt_utils").LabelSmoother(epsilon=0.3)
    logits, labels = torch.randn(2, 5, 4), torch.randint(0, 4, (2, 5))
    labels[0, 2] = -100
    found = LabelSmoother(0.3)({"logits": logits}, labels, shift_labels=shift, num_items_in_batch=count)
    expected = theirs({"logits": logits}, labels, shift_labels=shift, num_items_in_batch=count)
    torch.testing.assert_close(found, expected)


def test_what_has_no_classes_is_refused(folder: dict[str, Any]) -> None:
    ours, theirs = pair(folder["bert"], "SequenceClassification", num_labels=1)
    batch = {**batch_of("SequenceClassification", "right"), "labels": torch.rand(4)}
    for model in (ours, theirs):
        with pytest.raises(ValueError, match=r"label_smoothing_factor=0.1: .* no classes; set it to 0"):
            model_loss(model, batch, None, Criterion(0.1))
    lm, _, words = models_and_batch(folder, "MaskedLM")
    with pytest.raises(ValueError, match=r"class_weights=.*received one over the words of a vocabulary"):
        model_loss(lm, words, None, Criterion(class_weights=WEIGHTS))


def test_a_model_keeps_no_criterion(folder: dict[str, Any]) -> None:
    ours, _, batch = models_and_batch(folder, "SequenceClassification")
    before = ours(**batch).loss.item()
    model_loss(ours, batch, None, Criterion(0.5))
    assert ours(**batch).loss.item() == before
