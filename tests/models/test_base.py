from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lt_trainer.models.bert import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel
from tests.support import BERT_CONFIG

TinyBert = Callable[..., Path]
CONFIG = {name: value for name, value in BERT_CONFIG.items() if name not in ("architectures", "model_type")}


def test_initial_values_are_normal_weights_zero_biases_and_norms_of_one() -> None:
    model = BertForMaskedLM(BertConfig(**CONFIG))
    for name, values in model.named_parameters():
        if name.endswith("LayerNorm.weight"):
            assert values.eq(1).all()
        elif name.endswith("bias"):
            assert values.eq(0).all()
        else:
            assert values.std().item() == pytest.approx(0.02, rel=0.2)
            assert values.mean().abs() < 0.004
    assert model.get_input_embeddings().weight[0].eq(0).all()  # the padding token


def test_the_global_seed_makes_the_model() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(BertForSequenceClassification.from_config(BertConfig(**CONFIG)))
    weights = [model.classifier.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert models[0].training


def test_fresh_models_of_another_type() -> None:
    assert BertModel.from_config(BertConfig(**CONFIG), dtype="bfloat16").dtype == torch.bfloat16


def test_tied_weights_are_one_tensor_and_count_once() -> None:
    model = BertForMaskedLM(BertConfig(**CONFIG))
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    assert model.num_parameters() == sum(p.numel() for p in set(model.parameters()))
    untied = BertForMaskedLM(BertConfig(**CONFIG, tie_word_embeddings=False))
    assert untied.cls.predictions.decoder.weight is not untied.get_input_embeddings().weight


def test_frozen_parameters_may_be_left_out_of_the_count() -> None:
    model = BertModel(BertConfig(**CONFIG))
    total = model.num_parameters()
    model.get_input_embeddings().weight.requires_grad_(False)
    assert total - model.num_parameters(only_trainable=True) == model.get_input_embeddings().weight.numel()


def test_a_batch_without_ids_lists_what_it_holds() -> None:
    with pytest.raises(ValueError, match=r"input_ids are missing: .* received \['attention_mask', 'labels'\]"):
        BertModel(BertConfig(**CONFIG)).pack_inputs({"labels": 1, "attention_mask": 2})


def test_packing_leaves_other_arguments_alone() -> None:
    model = BertForSequenceClassification(BertConfig(**CONFIG))
    ids = torch.ones(2, 3, dtype=torch.long)
    packs = model.pack_inputs({"input_ids": ids, "labels": torch.tensor([0, 1]), "return_dict": False})
    assert set(packs) == {"packed", "labels", "return_dict"}


def test_saving_writes_tied_weights_once_and_the_configuration(tmp_path: Path) -> None:
    model = BertForMaskedLM(BertConfig(**CONFIG))
    model.save_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state = model.state_dict()
    assert set(state) - set(stored) == {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert all(torch.equal(values, state[name]) for name, values in stored.items())
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    assert config["dtype"] == "float32"
    assert config["model_type"] == "bert"


def test_saving_keeps_other_files_and_takes_a_gathered_state(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    model = BertModel(BertConfig(**CONFIG))
    model.save_pretrained(tmp_path, state_dict={name: x + 1 for name, x in model.state_dict().items()})
    loaded = BertModel.from_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert torch.equal(loaded.state_dict()["pooler.dense.bias"], model.state_dict()["pooler.dense.bias"] + 1)


def test_a_saved_model_comes_back_with_its_labels(tmp_path: Path) -> None:
    config = BertConfig(**CONFIG, id2label={0: "bad", 1: "so", 2: "good"})
    model = BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.label2id == {"bad": 0, "so": 1, "good": 2}
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


def test_a_given_configuration_replaces_the_folders(tiny_bert: TinyBert) -> None:
    config = BertConfig(**{**CONFIG, "num_hidden_layers": 1})
    assert len(BertModel.from_pretrained(tiny_bert(), config=config).encoder.layer) == 1
    assert (
        BertModel.from_pretrained(tiny_bert(), config=config, hidden_dropout_prob=0.3).config.hidden_dropout_prob == 0.3
    )
