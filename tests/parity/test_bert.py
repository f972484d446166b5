"""BERT against `transformers` with the same tiny random weights: whole tensors, forward and backward, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lt_trainer

transformers = pytest.importorskip("transformers")

TinyBert = Callable[..., Path]
VOCABULARY = 80
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


def pair(folder: Path, head: str | None, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Our model and that of `transformers` with equal weights, loaded from one folder with equal seeds."""
    name = "AutoModel" if head is None else f"AutoModelFor{head}"
    models = []
    for library in (lt_trainer, transformers):
        torch.manual_seed(3)
        models.append(getattr(library, name).from_pretrained(folder, **options))
    return models[0], models[1]


def padded(lengths: tuple[int, ...], side: str = "right", extra: int = 2) -> dict[str, torch.Tensor]:
    width = max(lengths) + extra
    column = torch.arange(width).expand(len(lengths), -1)
    length_B1 = torch.tensor(lengths)[:, None]
    mask = column < length_B1 if side == "right" else column >= width - length_B1
    draw = torch.Generator().manual_seed(5)
    ids = torch.randint(5, VOCABULARY, mask.shape, generator=draw)
    types = torch.randint(0, 2, mask.shape, generator=draw)
    return {"input_ids": ids.where(mask, 0), "token_type_ids": types.where(mask, 0), "attention_mask": mask.long()}


def with_labels(batch: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(6)
    mask = batch["attention_mask"] == 1
    rows = mask.shape[0]
    if head == "SequenceClassification":
        return {**batch, "labels": torch.randint(0, 3, (rows,), generator=draw)}
    if head == "QuestionAnswering":  # only rows without padding have the same softmax there (it counts pad positions)
        positions = torch.randint(0, mask.shape[1], (2, rows), generator=draw)
        return {**batch, "start_positions": positions[0], "end_positions": positions[1]}
    target = mask & (torch.rand(mask.shape, generator=draw) < 0.3)
    target[0, mask[0].nonzero()[0]] = True
    classes = VOCABULARY if head == "MaskedLM" else 3
    return {**batch, "labels": torch.randint(0, classes, mask.shape, generator=draw).where(target, -100)}


def options_of(head: str) -> dict[str, Any]:
    return {"num_labels": 3} if head in ("SequenceClassification", "TokenClassification") else {}


def assert_equal_gradients(
    ours: nn.Module, theirs: nn.Module, ours_loss: torch.Tensor, their_loss: torch.Tensor
) -> None:
    ours_loss.backward()
    their_loss.backward()
    expected = dict(theirs.named_parameters())
    seen = 0
    for name, values in ours.named_parameters():
        if expected[name].grad is None:
            assert values.grad is None, name
            continue
        torch.testing.assert_close(
            values.grad, expected[name].grad, **TOLERANCE, msg=lambda m, name=name: f"{name}: {m}"
        )
        seen += int(values.grad.abs().max() > 0)
    assert seen > 20


CASES = [("right", (9, 2, 5, 17)), ("left", (9, 2, 5, 17)), ("right", (6,)), ("right", (512, 3))]
CASE_NAMES = ["right", "left", "one row", "512 tokens"]


@pytest.mark.parametrize(("side", "lengths"), CASES, ids=CASE_NAMES)
@pytest.mark.parametrize("head", HEADS)
def test_loss_logits_and_every_gradient_are_equal(tiny_bert: TinyBert, head: str, side: str, lengths) -> None:
    folder = tiny_bert(vocab_size=VOCABULARY, max_position_embeddings=520)
    ours, theirs = pair(folder, head, **options_of(head))
    if head == "QuestionAnswering":
        lengths, extra = (max(lengths),) * len(lengths), 0
    else:
        extra = 2
    batch = with_labels(padded(lengths, side, extra), head)
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
    torch.testing.assert_close(out["loss"], expected["loss"], **TOLERANCE)
    for name in set(out) - {"loss"}:
        mine, reference = out[name], expected[name]
        if mine.shape[:2] == real.shape:
            mine, reference = mine[real], reference[real]
        torch.testing.assert_close(mine, reference, **TOLERANCE)
    assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])


@pytest.mark.parametrize("head", ["SequenceClassification", "MaskedLM"])
def test_the_targets_of_a_whole_step_divide_the_sum(tiny_bert: TinyBert, head: str) -> None:
    ours, theirs = pair(tiny_bert(vocab_size=VOCABULARY), head, **options_of(head))
    batch = with_labels(padded((9, 2, 5)), head)
    count = int((batch["labels"] != -100).sum())
    loss = ours(**batch, num_items_in_batch=torch.tensor(4 * count)).loss
    expected = theirs(**batch).loss / 4
    torch.testing.assert_close(loss, expected, **TOLERANCE)
    assert_equal_gradients(ours, theirs, loss, expected)


@pytest.mark.parametrize(
    ("num_labels", "labels"),
    [(1, torch.tensor([0.5, -1.0, 2.0])), (3, torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]]))],
    ids=["regression", "multi-label"],
)
def test_other_kinds_of_labels_are_inferred_alike(tiny_bert: TinyBert, num_labels: int, labels: torch.Tensor) -> None:
    ours, theirs = pair(tiny_bert(vocab_size=VOCABULARY), "SequenceClassification", num_labels=num_labels)
    batch = {**padded((9, 2, 5)), "labels": labels}
    torch.testing.assert_close(ours(**batch).loss, theirs(**batch).loss, **TOLERANCE)
    assert ours.config.problem_type == theirs.config.problem_type


def test_the_plain_model_is_equal_with_default_types_and_positions(tiny_bert: TinyBert) -> None:
    ours, theirs = pair(tiny_bert(vocab_size=VOCABULARY), None)
    ids = padded((7, 7), extra=0)["input_ids"]
    out, expected = ours(ids), theirs(ids)
    torch.testing.assert_close(out.last_hidden_state, expected.last_hidden_state, **TOLERANCE)
    torch.testing.assert_close(out.pooler_output, expected.pooler_output, **TOLERANCE)
    assert list(out) == list(expected)
    positions = torch.arange(7).flip(0).expand(2, -1)
    torch.testing.assert_close(
        ours(ids, position_ids=positions).last_hidden_state,
        theirs(ids, position_ids=positions).last_hidden_state,
        **TOLERANCE,
    )


@pytest.mark.parametrize("head", [None, *HEADS])
def test_names_and_freshly_drawn_heads_are_equal(tiny_bert: TinyBert, head: str | None) -> None:
    """From the same seed even a new head has the values that `transformers` gives it."""
    ours, theirs = pair(tiny_bert(vocab_size=VOCABULARY, head="masked"), head)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(values, expected[name]) for name, values in state.items())


@pytest.mark.parametrize("head", HEADS)
def test_a_folder_goes_there_and_back_byte_for_byte(tiny_bert: TinyBert, tmp_path: Path, head: str) -> None:
    ours, _ = pair(tiny_bert(vocab_size=VOCABULARY), head, **options_of(head))
    ours.save_pretrained(tmp_path / "ours")
    theirs, info = getattr(transformers, f"AutoModelFor{head}").from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs.save_pretrained(tmp_path / "theirs")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    assert first.keys() == second.keys()
    assert all(x.view(torch.uint8).equal(second[name].view(torch.uint8)) for name, x in first.items())
    back = getattr(lt_trainer, f"AutoModelFor{head}").from_pretrained(tmp_path / "theirs")
    assert all(torch.equal(values, ours.state_dict()[name]) for name, values in back.state_dict().items())
    kept = {name: value for name, value in ours.config_to_save().items() if name != "transformers_version"}
    written = back.config.to_dict()
    assert {name: written[name] for name in kept} == kept


def test_both_uses_of_the_tied_embedding_bring_their_gradient(tiny_bert: TinyBert) -> None:
    """It embeds the ids and it scores the vocabulary; everything else is frozen."""
    ours, theirs = pair(tiny_bert(vocab_size=VOCABULARY), "MaskedLM")
    for model in (ours, theirs):
        for name, values in model.named_parameters():
            values.requires_grad_("word_embeddings" in name)
    batch = with_labels(padded((9, 2, 5)), "MaskedLM")
    ours(**batch).loss.backward()
    theirs(**batch).loss.backward()
    name = "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad, **TOLERANCE)
