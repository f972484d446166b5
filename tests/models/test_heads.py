from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lt_trainer.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from lt_trainer.models.outputs import ModelOutput

if TYPE_CHECKING:
    from lt_trainer.models.heads import Head

LENGTHS = (7, 2, 5)
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
TOKEN_HEADS = [BertForTokenClassification, BertForMaskedLM]
ALL_HEADS = [BertForSequenceClassification, BertForQuestionAnswering, *TOKEN_HEADS]


def batch_for(head: type[Head]) -> dict[str, Any]:
    """Three rows of 7, 2 and 5 tokens padded on the right to 9, with labels of the head."""
    draw = torch.Generator().manual_seed(1)
    mask = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
    batch = {"input_ids": torch.randint(5, 40, (3, 9), generator=draw) * mask, "attention_mask": mask}
    if head is BertForSequenceClassification:
        return {**batch, "labels": torch.tensor([2, 0, 1])}
    if head is BertForQuestionAnswering:
        return {**batch, "start_positions": torch.tensor([1, 0, 3]), "end_positions": torch.tensor([6, 1, 3])}
    chosen = (torch.rand(3, 9, generator=draw) < 0.4) & (mask == 1)
    chosen[1] = False  # a row without a target
    return {**batch, "labels": torch.randint(0, 3, (3, 9), generator=draw).where(chosen, -100)}


def build(head: type[Head], **settings: Any) -> Head:
    return head(BertConfig(num_labels=2 if head is BertForQuestionAnswering else 3, **{**SMALL, **settings})).eval()


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("head", ALL_HEADS)
def test_packed_input_equals_padded_input(head: type[Head]) -> None:
    model, batch = build(head), batch_for(head)
    padded, packed = model(**batch), model(**model.pack_inputs(batch))
    assert list(padded) == list(packed)
    for name in padded:
        assert torch.equal(padded[name], packed[name])


@pytest.mark.parametrize("head", ALL_HEADS)
def test_a_batch_equals_its_rows_alone(head: type[Head]) -> None:
    """Row by row without any padding: the same sum of losses and the same gradients."""
    model, batch = build(head), batch_for(head)
    count = model.count_targets(batch)
    together = model(**batch, num_items_in_batch=count).loss
    assert torch.equal(together, model(**batch).loss)
    alone = torch.zeros(())
    for row, length in enumerate(LENGTHS):
        part = {name: x[row : row + 1, :length] if x.ndim == 2 else x[row : row + 1] for name, x in batch.items()}
        if model.count_targets(part):
            alone = alone + model(**part, num_items_in_batch=torch.tensor(count)).loss
    torch.testing.assert_close(together, alone)
    for mine, theirs in zip(gradients(model, together), gradients(model, alone), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ALL_HEADS)
def test_no_layer_sees_a_pad_row(head: type[Head]) -> None:
    """Counts the rows that enter every linear layer, norm and embedding, in training mode with dropout on."""
    model, batch = build(head, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).train(), batch_for(head)
    rows: dict[str, int] = {}

    def count(name: str, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        x = args[0]
        rows[name] = x.numel() if isinstance(module, nn.Embedding) else x.numel() // x.shape[-1]

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding):
            module.register_forward_pre_hook(partial(count, name))
    model(**batch).loss.backward()
    num_tokens = sum(LENGTHS)
    read = {
        BertForSequenceClassification: 3,
        BertForQuestionAnswering: num_tokens,
    }.get(head, int((batch.get("labels", torch.empty(0)) != -100).sum()))
    last = ".encoder.layer.1."
    for name, seen in rows.items():
        inner = name.startswith("bert.") and "pooler" not in name
        only_read = not inner or (last in name and not name.endswith(("self.key", "self.value")))
        assert seen == (read if only_read else num_tokens), name
    assert len(rows) > 15


@pytest.mark.parametrize("head", TOKEN_HEADS)
def test_logits_cost_nothing_until_they_are_read(head: type[Head], monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(head), batch_for(head)
    scored = []
    score = model.scores
    monkeypatch.setattr(model, "scores", lambda x: scored.append(x.shape[0]) or score(x))
    out = model(**batch)
    assert sum(LENGTHS) not in scored
    lazy = out.logits
    assert scored[-1] == sum(LENGTHS)
    now = model(**batch, output_logits=True)
    torch.testing.assert_close(lazy, now.logits)
    torch.testing.assert_close(out.loss, now.loss)
    torch.testing.assert_close(model(**{k: v for k, v in batch.items() if k != "labels"}).logits, now.logits)
    assert "logits" not in model(**batch, output_logits=False)


@pytest.mark.parametrize("head", TOKEN_HEADS)
def test_logits_give_the_loss_and_its_gradient(head: type[Head]) -> None:
    """What an override of compute_loss does: it reads lazy logits, and its gradients are the model's."""
    model, batch = build(head), batch_for(head)
    out = model(**batch)
    assert out.logits.shape == (3, 9, model.num_classes)
    assert out.logits[batch["attention_mask"] == 0].abs().max() == 0
    theirs = F.cross_entropy(out.logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(out.loss, theirs)
    for a, b in zip(gradients(model, out.loss), gradients(model, theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", TOKEN_HEADS)
def test_a_batch_without_a_target_has_gradients_of_zero_everywhere(head: type[Head]) -> None:
    model, batch = build(head), batch_for(head)
    batch["labels"] = torch.full((3, 9), -100)
    assert model.count_targets(batch) == 0
    loss = model(**batch, num_items_in_batch=7).loss
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in model.parameters())


@pytest.mark.parametrize("head", TOKEN_HEADS)
def test_labels_at_pad_positions_are_no_targets(head: type[Head]) -> None:
    model, batch = build(head), batch_for(head)
    stray = {**batch, "labels": batch["labels"].masked_fill(batch["attention_mask"] == 0, 1)}
    assert model.count_targets(stray) == model.count_targets(batch)
    assert torch.equal(model(**stray).loss, model(**batch).loss)


@pytest.mark.parametrize("head", ALL_HEADS)
def test_targets_are_counted_alike_before_and_after_packing(head: type[Head]) -> None:
    model, batch = build(head), batch_for(head)
    expected = 3 if "labels" not in batch else int((batch["labels"] != -100).sum())
    assert model.count_targets(batch) == model.count_targets(model.pack_inputs(batch)) == expected


def test_labels_of_another_shape_than_the_ids_are_refused() -> None:
    model, batch = build(BertForTokenClassification), batch_for(BertForTokenClassification)
    with pytest.raises(ValueError, match=r"labels: expected one a token, \(3, 9\), received \(3, 4\)"):
        model(**{**batch, "labels": batch["labels"][:, :4]})


@pytest.mark.parametrize("head", [BertForSequenceClassification, *TOKEN_HEADS])
def test_a_label_outside_the_classes_is_refused_before_anything_is_computed(head: type[Head]) -> None:
    model, batch = build(head), batch_for(head)
    batch["labels"][2] = 77
    with pytest.raises(ValueError, match="received 77 in row 2"):
        model.pack_inputs(batch)


# --- classification ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_labels", "labels", "kind", "count"),
    [
        (3, torch.tensor([0, 2, 1]), "single_label_classification", 3),
        (3, torch.tensor([0, -100, 1]), "single_label_classification", 2),
        (3, torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]]), "multi_label_classification", 9),
        (1, torch.tensor([0.5, -1.0, 2.0]), "regression", 3),
        (1, torch.tensor([[1], [0], [3]]), "regression", 3),
    ],
)
def test_the_first_labels_tell_the_kind_of_problem(num_labels, labels, kind, count) -> None:
    batch = {**batch_for(BertForSequenceClassification), "labels": labels}
    model = BertForSequenceClassification(BertConfig(num_labels=num_labels, **SMALL)).eval()
    assert model.count_targets(batch) == count
    out = model(**batch)
    assert model.config.problem_type == kind
    logits = out.logits
    expected = {
        "single_label_classification": lambda: F.cross_entropy(logits, labels),
        "multi_label_classification": lambda: F.binary_cross_entropy_with_logits(logits, labels),
        "regression": lambda: F.mse_loss(logits.flatten(), labels.flatten().float()),
    }[kind]()
    torch.testing.assert_close(out.loss, expected)


def test_several_numbers_a_row_are_a_regression_where_the_configuration_says_so() -> None:
    model = BertForSequenceClassification(BertConfig(num_labels=2, problem_type="regression", **SMALL)).eval()
    batch = {**batch_for(BertForSequenceClassification), "labels": torch.rand(3, 2)}
    torch.testing.assert_close(model(**batch).loss, F.mse_loss(model(**batch).logits, batch["labels"]))


def test_a_row_is_read_at_its_first_real_token_wherever_the_padding_is() -> None:
    model, batch = build(BertForSequenceClassification), batch_for(BertForSequenceClassification)
    left = {"labels": batch["labels"]}
    for name in ("input_ids", "attention_mask"):
        left[name] = torch.stack([row.roll(9 - n) for row, n in zip(batch[name], LENGTHS, strict=True)])
    positions = torch.stack([torch.arange(9).roll(9 - n) for n in LENGTHS])
    assert torch.equal(model(**left, position_ids=positions).logits, model(**batch).logits)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_sought_among_real_tokens_alone() -> None:
    model, batch = build(BertForQuestionAnswering), batch_for(BertForQuestionAnswering)
    out = model(**batch)
    losses = []
    for name in ("start", "end"):
        scores = out[f"{name}_logits"].masked_fill(batch["attention_mask"] == 0, -torch.inf)
        losses.append(F.cross_entropy(scores, batch[f"{name}_positions"]))
    torch.testing.assert_close(out.loss, sum(losses) / 2)
    assert out.start_logits[batch["attention_mask"] == 0].max() == -10_000


def test_an_answer_outside_the_row_is_no_target() -> None:
    model, batch = build(BertForQuestionAnswering), batch_for(BertForQuestionAnswering)
    batch["start_positions"][1] = batch["end_positions"][1] = 9
    assert model.count_targets(batch) == 2
    rest = {name: x[[0, 2]] for name, x in batch.items()}
    torch.testing.assert_close(model(**batch).loss, model(**rest).loss)


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_a_tuple_where_it_is_asked_for() -> None:
    model, batch = build(BertForSequenceClassification), batch_for(BertForSequenceClassification)
    loss, logits = model(**batch, return_dict=False)
    assert (loss.shape, logits.shape) == ((), (3, 3))


def test_the_plain_model_gives_padded_states_and_the_pooled_first_token() -> None:
    model, batch = BertModel(BertConfig(**SMALL)).eval(), batch_for(BertForSequenceClassification)
    del batch["labels"]
    out = model(**batch)
    assert isinstance(out, ModelOutput)
    assert out.last_hidden_state.shape == (3, 9, 16)
    assert out.last_hidden_state[batch["attention_mask"] == 0].abs().max() == 0
    assert model.pooler is not None
    torch.testing.assert_close(out.pooler_output, model.pooler(out.last_hidden_state[:, 0]))
    with pytest.raises(ValueError, match="BertModel has no loss"):
        model.count_targets(batch)


def test_dropout_is_drawn_anew_in_training_and_off_in_evaluation() -> None:
    model = build(BertForSequenceClassification, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    batch = batch_for(BertForSequenceClassification)
    assert torch.equal(model(**batch).logits, model(**batch).logits)
    model.train()
    state = torch.get_rng_state()
    first = model(**batch).logits
    assert not torch.equal(first, model(**batch).logits)
    torch.set_rng_state(state)
    assert torch.equal(first, model(**batch).logits)


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ALL_HEADS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_autocast_keeps_the_loss_and_float32_gradients(head: type[Head], training: bool) -> None:
    model, batch = (
        build(head, attention_probs_dropout_prob=1e-4, hidden_dropout_prob=1e-4).train(training),
        batch_for(head),
    )
    expected = model(**batch).loss
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch).loss
        assert torch.isfinite(model(**batch).to_tuple()[1]).all()
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0.0)
    loss.backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("head", ALL_HEADS)
def test_weights_of_half_the_size_train_too(head: type[Head]) -> None:
    model, batch = (
        build(head, attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1).bfloat16().train(),
        batch_for(head),
    )
    loss = model(**batch).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
