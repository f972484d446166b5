"""Which parts of a model FSDP2 fetches by themselves."""

from __future__ import annotations

import pytest
import torch

from lt_trainer.models.bert import BertConfig, BertModel
from lt_trainer.models.running import shard_units
from lt_trainer.models.t5 import T5Config, T5ForConditionalGeneration

SMALL = {"vocab_size": 30, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 16}


def names(model, units):
    known = {module: name for name, module in model.named_modules()}
    return [known[unit] for unit in units]


def test_layers_of_native_models_are_known():
    model = BertModel(BertConfig(**SMALL))
    expected = [f"encoder.layer.{layer}" for layer in (2, 1, 0)]
    assert names(model, shard_units(model, None, 0)) == expected
    assert names(model, shard_units(model, ["BertLayer"], 0)) == expected


def test_small_layers_stay_with_the_rest():
    model = BertModel(BertConfig(**SMALL))
    size = sum(p.numel() for p in model.encoder.layer[0].parameters())
    assert len(shard_units(model, None, size)) == 3
    assert shard_units(model, None, size + 1) == []


def test_a_name_that_no_layer_has_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"BertModel \(BertLayer\), received .BertLayr.; did you mean"):
        shard_units(BertModel(BertConfig(**SMALL)), ["BertLayr"], 0)


def test_a_block_whose_weights_others_read_stays_with_the_rest():
    model = T5ForConditionalGeneration(T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2))
    assert names(model, shard_units(model, None, 0)) == ["decoder.block.1", "encoder.block.1"]


def test_other_models_say_what_must_not_be_split_or_are_told():
    class Block(torch.nn.Linear):
        pass

    model = torch.nn.Sequential(Block(2, 2), torch.nn.Sequential(Block(2, 2)))
    assert shard_units(model, None, 0) == []
    assert names(model, shard_units(model, ["Block"], 0)) == ["1.0", "0"]
    model._no_split_modules = ["Block"]
    assert names(model, shard_units(model, None, 0)) == ["1.0", "0"]
