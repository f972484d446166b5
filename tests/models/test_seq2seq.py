"""Encoder-decoders: both sides packed, targets alone projected."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lt_trainer.models.t5 import T5Config, T5ForConditionalGeneration

SMALL = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
SOURCE, TARGET = (7, 2, 5), (3, 6, 1)


def model_of(**settings: Any) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(**{**SMALL, "dropout_rate": 0.0, "decoder_start_token_id": 0, **settings})
    return T5ForConditionalGeneration(config).eval()


def batch_of() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    mask = (torch.arange(9) < torch.tensor(SOURCE)[:, None]).long()
    target = torch.arange(8) < torch.tensor(TARGET)[:, None]
    ids = torch.randint(5, 40, (3, 9), generator=draw) * mask
    labels = torch.randint(5, 40, (3, 8), generator=draw).where(target, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def test_the_decoder_reads_the_labels_moved_right_up_to_the_last_target() -> None:
    model = model_of(decoder_start_token_id=2)
    labels = torch.tensor([[7, 8, -100, 9, -100], [6, -100, -100, -100, -100]])
    packs = model.pack_inputs({"input_ids": torch.full((2, 2), 5), "labels": labels})
    decoder = packs["packed_decoder"]
    assert decoder.input_ids_N.tolist() == [2, 7, 8, 0, 2]
    assert decoder.lengths == (4, 1)
    assert decoder.position_ids_N.tolist() == [0, 1, 2, 3, 0]
    assert packs["labels"].tolist() == [7, 8, 9, 6]
    assert decoder.read.index_R.tolist() == [0, 1, 3, 4]
    assert model.count_targets({"labels": labels}) == model.count_targets(packs) == 4


def test_packed_input_equals_padded_input() -> None:
    model, batch = model_of(), batch_of()
    padded, packed = model(**batch), model(**model.pack_inputs(batch))
    assert list(padded) == list(packed) == ["loss", "logits", "encoder_last_hidden_state"]
    assert all(torch.equal(padded[name], packed[name]) for name in padded)
    with pytest.raises(ValueError, match="packed_decoder is missing"):
        model(packed=model.pack_inputs(batch)["packed"])


def test_logits_give_the_loss_and_cost_nothing_until_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_of(), batch_of()
    scored: list[int] = []
    scores = model.scores
    monkeypatch.setattr(model, "scores", lambda x: scored.append(len(x)) or scores(x))
    out = model(**batch)
    assert scored == []
    assert out.logits.shape == (3, 8, 40)
    assert scored == [sum(TARGET)]
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits.flatten(0, 1), batch["labels"].flatten()))
    assert out.logits[batch["labels"] == -100].abs().max() == 0
    assert list(model(**batch, output_logits=False)) == ["loss"]
    torch.testing.assert_close(model(**batch, num_items_in_batch=20).loss, out.loss * 10 / 20)


def test_no_layer_sees_a_pad_token_on_either_side() -> None:
    model, batch = model_of(dropout_rate=0.1, feed_forward_proj="gated-gelu").train(), batch_of()
    rows: dict[str, int] = {}

    def count(name: str, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        rows[name] = args[0].numel() if isinstance(module, nn.Embedding) else len(args[0])

    for name, module in model.named_modules():
        if not list(module.children()) and "relative" not in name and "dropout" not in name:
            module.register_forward_pre_hook(partial(count, name))
    model(**batch).loss.backward()
    for name, seen in rows.items():
        asked = name.endswith(("EncDecAttention.k", "EncDecAttention.v"))
        assert seen == (sum(SOURCE) if name.startswith("encoder") or asked else sum(TARGET)), name
    assert len(rows) > 40


def test_a_row_without_a_target_brings_nothing() -> None:
    model, batch = model_of(), batch_of()
    batch["labels"][1] = -100
    rest = {name: values[[0, 2]] for name, values in batch.items()}
    torch.testing.assert_close(model(**batch).loss, model(**rest).loss)
    batch["labels"][:] = -100
    loss = model(**batch, num_items_in_batch=5).loss
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in model.parameters())


def test_what_is_missing_is_named() -> None:
    model, batch = model_of(decoder_start_token_id=None), batch_of()
    with pytest.raises(ValueError, match="decoder_start_token_id=None, pad_token_id=0: expected two token ids"):
        model(**batch)
    del batch["labels"]
    with pytest.raises(ValueError, match=r"expected labels or decoder_input_ids .*\['attention_mask', 'input_ids'"):
        model(**batch)
    labels = torch.tensor([[3, 77]])
    with pytest.raises(ValueError, match="received 77 in row 0"):
        model_of().pack_inputs({"input_ids": torch.ones(1, 2, dtype=torch.long), "labels": labels})
    with pytest.raises(ValueError, match=r"expected the shape of decoder_input_ids, \(3, 2\), received \(3, 8\)"):
        model_of().pack_inputs({**batch_of(), "decoder_input_ids": torch.ones(3, 2, dtype=torch.long)})


def test_dropout_is_drawn_in_training_alone() -> None:
    model, batch = model_of(dropout_rate=0.2), batch_of()
    assert torch.equal(model(**batch).loss, model(**batch).loss)
    model.train()
    state = torch.get_rng_state()
    first = model(**batch).loss
    assert not torch.equal(first, model(**batch).loss)
    torch.set_rng_state(state)
    assert torch.equal(first, model(**batch).loss)


def test_autocast_keeps_the_loss_and_float32_gradients() -> None:
    model, batch = model_of(), batch_of()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch).loss
    torch.testing.assert_close(loss, model(**batch).loss, rtol=2e-2, atol=0.0)
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
