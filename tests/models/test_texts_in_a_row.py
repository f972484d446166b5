"""Texts that stand behind each other in one row never meet, in no family."""

from __future__ import annotations

import pytest
import torch

from lt_trainer import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, DataCollatorWithFlattening

ROWS = [[5, 6, 7, 8], [9, 10], [11], [12, 13, 14]]


def gpt2():
    config = AutoConfig.for_model("gpt2", vocab_size=40, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    return AutoModelForCausalLM.from_config(config).eval()


def bert():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", vocab_size=40, **sizes)).eval()


@pytest.mark.parametrize("make", [gpt2, bert])
def test_flattened_rows_have_the_scores_of_rows_alone(make):
    model = make()
    batch = DataCollatorWithFlattening()([{"input_ids": row} for row in ROWS])
    flat = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
    alone = torch.cat([model(input_ids=torch.tensor([row])).logits[0] for row in ROWS])
    torch.testing.assert_close(flat, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [gpt2, bert])
def test_changing_one_text_changes_the_others_by_exactly_nothing(make):
    model = make()
    batch = DataCollatorWithFlattening()([{"input_ids": row} for row in ROWS])
    inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
    before = model(**inputs).logits[0]
    changed = inputs["input_ids"].clone()
    changed[0, :4] += 1
    after = model(**{**inputs, "input_ids": changed}).logits[0]
    assert torch.equal(after[4:], before[4:])
    assert not torch.equal(after[:4], before[:4])


def test_no_token_predicts_across_a_border():
    model = gpt2()
    rows = [{"input_ids": row} for row in ROWS]
    batch = DataCollatorWithFlattening(separator_id=1)(rows)  # a label that would be read if the border were crossed
    loss = model(**batch).loss
    losses = [model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss for row in ROWS if len(row) > 1]
    counts = [len(row) - 1 for row in ROWS if len(row) > 1]
    expected = sum(x * n for x, n in zip(losses, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert model.pack_inputs(batch)["labels"].tolist() == [6, 7, 8, 10, 13, 14]


def test_targets_are_counted_without_the_first_of_each_text():
    model = gpt2()
    batch = DataCollatorWithFlattening(separator_id=1)([{"input_ids": row} for row in ROWS])
    assert model.count_targets(batch) == 6
    assert model.count_targets(model.pack_inputs(batch)) == 6
