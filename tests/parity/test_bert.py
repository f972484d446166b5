"""BERT against `transformers` with the same tiny random weights: whole tensors, forward and backward, and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import families

transformers = pytest.importorskip("transformers")

TinyBert = Callable[..., Path]
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]


def padded(lengths: tuple[int, ...], side: str = "right", extra: int = 2) -> dict[str, torch.Tensor]:
    """Rows of two texts."""
    batch = families.padded(lengths, side, extra)
    types = torch.randint(0, 2, batch["input_ids"].shape, generator=torch.Generator().manual_seed(4))
    return {**batch, "token_type_ids": types * batch["attention_mask"]}


CASES = [("right", (9, 2, 5, 17)), ("left", (9, 2, 5, 17)), ("right", (6,)), ("right", (512, 3))]
CASE_NAMES = ["right", "left", "one row", "512 tokens"]


@pytest.mark.parametrize(("side", "lengths"), CASES, ids=CASE_NAMES)
def test_loss_logits_and_every_gradient_are_equal(tiny_bert: TinyBert, head: str, side: str, lengths) -> None:
    folder = tiny_bert(vocab_size=families.VOCABULARY, max_position_embeddings=520)
    ours, theirs = families.pair(folder, head, **families.options_of(head))
    if head == "QuestionAnswering":
        lengths, extra = (max(lengths),) * len(lengths), 0
    else:
        extra = 2
    batch = families.with_labels(padded(lengths, side, extra), head)
    real = batch["attention_mask"] == 1
    out = ours(**batch)
    if side == "left" and head == "SequenceClassification":
        # `transformers` reads a pad token there; the reference is its own model, read at the first real token.
        states = theirs.bert(**{name: x for name, x in batch.items() if name != "labels"}).last_hidden_state
        first = states[torch.arange(len(lengths)), real.int().argmax(dim=1)]
        logits = theirs.classifier(theirs.bert.pooler(first[:, None]))
        expected = {"logits": logits, "loss": nn.functional.cross_entropy(logits, batch["labels"])}
    else:
        expected = theirs(**batch)
    families.assert_equal_outputs(out, expected, real)
    families.assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])


@pytest.mark.parametrize("head", ["SequenceClassification", "MaskedLM"])
def test_the_targets_of_a_whole_step_divide_the_sum(tiny_bert: TinyBert, head: str) -> None:
    ours, theirs = families.pair(tiny_bert(vocab_size=families.VOCABULARY), head, **families.options_of(head))
    batch = families.with_labels(padded((9, 2, 5)), head)
    count = int((batch["labels"] != -100).sum())
    loss = ours(**batch, num_items_in_batch=torch.tensor(4 * count)).loss
    expected = theirs(**batch).loss / 4
    torch.testing.assert_close(loss, expected, **families.TOLERANCE)
    families.assert_equal_gradients(ours, theirs, loss, expected)


@pytest.mark.parametrize(
    ("num_labels", "labels"),
    [(1, torch.tensor([0.5, -1.0, 2.0])), (3, torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]]))],
    ids=["regression", "multi-label"],
)
def test_other_kinds_of_labels_are_inferred_alike(tiny_bert: TinyBert, num_labels: int, labels: torch.Tensor) -> None:
    ours, theirs = families.pair(
        tiny_bert(vocab_size=families.VOCABULARY), "SequenceClassification", num_labels=num_labels
    )
    batch = {**padded((9, 2, 5)), "labels": labels}
    torch.testing.assert_close(ours(**batch).loss, theirs(**batch).loss, **families.TOLERANCE)
    assert ours.config.problem_type == theirs.config.problem_type


def test_the_plain_model_is_equal_with_default_types_and_positions(tiny_bert: TinyBert) -> None:
    ours, theirs = families.pair(tiny_bert(vocab_size=families.VOCABULARY), None)
    ids = padded((7, 7), extra=0)["input_ids"]
    out, expected = ours(ids), theirs(ids)
    torch.testing.assert_close(out.last_hidden_state, expected.last_hidden_state, **families.TOLERANCE)
    torch.testing.assert_close(out.pooler_output, expected.pooler_output, **families.TOLERANCE)
    assert list(out) == list(expected)
    positions = torch.arange(7).flip(0).expand(2, -1)
    torch.testing.assert_close(
        ours(ids, position_ids=positions).last_hidden_state,
        theirs(ids, position_ids=positions).last_hidden_state,
        **families.TOLERANCE,
    )


def test_names_and_freshly_drawn_heads_are_equal(tiny_bert: TinyBert, any_head: str | None) -> None:
    """From the same seed even a new head has the values that `transformers` gives it."""
    families.assert_equal_names(*families.pair(tiny_bert(vocab_size=families.VOCABULARY, head="masked"), any_head))


def test_a_folder_goes_there_and_back_byte_for_byte(tiny_bert: TinyBert, tmp_path: Path, head: str) -> None:
    ours, _ = families.pair(tiny_bert(vocab_size=families.VOCABULARY), head, **families.options_of(head))
    families.assert_folder_goes_there_and_back(ours, head, tmp_path)


def test_both_uses_of_the_tied_embedding_bring_their_gradient(tiny_bert: TinyBert) -> None:
    """It embeds the ids and it scores the vocabulary; everything else is frozen."""
    ours, theirs = families.pair(tiny_bert(vocab_size=families.VOCABULARY), "MaskedLM")
    for model in (ours, theirs):
        for name, values in model.named_parameters():
            values.requires_grad_("word_embeddings" in name)
    batch = families.with_labels(padded((9, 2, 5)), "MaskedLM")
    ours(**batch).loss.backward()
    theirs(**batch).loss.backward()
    name = "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad, **families.TOLERANCE)
