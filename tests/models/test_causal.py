"""Causal language models: targets inside rows, and logits that nobody reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lt_trainer.models.gpt2 import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

SMALL = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
LENGTHS = (7, 2, 1, 5)


def model_of(**settings: Any) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(**{**SMALL, **STILL, **settings})).eval()


def batch_of(side: str = "right", labels: bool = True) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    column, length_B1 = torch.arange(9), torch.tensor(LENGTHS)[:, None]
    mask = (column < length_B1 if side == "right" else column >= 9 - length_B1).long()
    ids = torch.randint(5, 40, (4, 9), generator=draw) * mask
    return {"input_ids": ids, "attention_mask": mask, **({"labels": ids.where(mask == 1, -100)} if labels else {})}


@pytest.mark.parametrize("side", ["right", "left"])
def test_targets_are_the_labels_after_the_first_of_each_row(side: str) -> None:
    model, batch = model_of(), batch_of(side)
    packs = model.pack_inputs(batch)
    expected = [ids[mask == 1][1:] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert torch.equal(packs["labels"], torch.cat(expected))
    assert packs["packed"].read.lengths == (6, 1, 0, 4)
    assert model.count_targets(batch) == model.count_targets(packs) == 11
    batch["labels"][0, 4:] = -100
    assert model.count_targets(batch) == model.count_targets(model.pack_inputs(batch))


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_that_of_each_row_alone(side: str) -> None:
    model, batch = model_of(), batch_of(side)
    total = torch.zeros(())
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"] == 1, strict=True):
        positions = mask.nonzero().T
        logits = model(ids[mask][None], position_ids=positions).logits[0]
        total = total + F.cross_entropy(logits[:-1], ids[mask][1:], reduction="sum")
    torch.testing.assert_close(model(**batch).loss, total / 11)
    torch.testing.assert_close(model(**batch, num_items_in_batch=22).loss, total / 22)


def test_labels_never_cross_a_row_boundary() -> None:
    """The first token of a row changes: the loss of the row before it must not."""
    model, batch = model_of(), batch_of()
    batch["labels"][1:] = -100
    before = model(**batch).loss
    batch["input_ids"][1, 0] += 1
    assert torch.equal(model(**batch).loss, before)


def test_rows_of_one_token_have_no_target_and_gradients_of_zero() -> None:
    model = model_of()
    batch = {"input_ids": torch.tensor([[5], [6]]), "labels": torch.tensor([[5], [6]])}
    assert model.count_targets(batch) == 0
    loss = model(**batch, num_items_in_batch=3).loss
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in model.parameters())


@pytest.mark.parametrize("share", ["few", "most"])
def test_the_last_block_is_exact_whether_few_or_most_tokens_are_read(share: str) -> None:
    model, batch = model_of(), batch_of()
    if share == "few":
        batch["labels"][0, :5] = -100
        batch["labels"][3, :4] = -100
    rows: list[int] = []
    model.transformer.h[-1].mlp.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    out = model(**batch)
    assert rows == [4 if share == "few" else 15]
    now = model(**batch, output_logits=True)
    torch.testing.assert_close(out.loss, now.loss)
    torch.testing.assert_close(out.logits, now.logits)
    shifted = F.cross_entropy(now.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(out.loss, shifted)


def test_no_logits_are_made_for_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    monkeypatch.setattr(model, "scores", lambda x: pytest.fail("nobody asked"))
    model(**batch_of()).loss.backward()
    assert "logits" not in model(**batch_of(), output_logits=False)


def test_dropout_is_drawn_in_training_alone() -> None:
    model, batch = model_of(resid_pdrop=0.2, attn_pdrop=0.2, embd_pdrop=0.2), batch_of()
    assert torch.equal(model(**batch).loss, model(**batch).loss)
    model.train()
    state = torch.get_rng_state()
    first = model(**batch).loss
    assert not torch.equal(first, model(**batch).loss)
    torch.set_rng_state(state)
    assert torch.equal(first, model(**batch).loss)


def test_a_row_is_classified_at_its_last_real_token() -> None:
    model = GPT2ForSequenceClassification(GPT2Config(**SMALL, **STILL, num_labels=3)).eval()
    batch = batch_of(labels=False)
    logits = model(**batch).logits
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(logits[row], model(batch["input_ids"][row : row + 1, :length]).logits[0])
    batch["input_ids"][0, 6] += 1
    assert not torch.equal(model(**batch).logits[0], logits[0])


def test_weights_on_the_residual_begin_smaller() -> None:
    model = GPT2LMHeadModel.from_config(GPT2Config(**{**SMALL, "n_embd": 64, "n_layer": 8}))
    block = model.transformer.h[3]
    assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for layer in (block.attn.c_proj, block.mlp.c_proj):
        assert layer.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)


def test_autocast_keeps_the_loss_and_float32_gradients() -> None:
    model, batch = model_of(), batch_of()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch).loss
    torch.testing.assert_close(loss, model(**batch).loss, rtol=2e-2, atol=0.0)
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
