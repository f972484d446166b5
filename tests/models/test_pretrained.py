from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lt_trainer.models.bert import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel

TinyBert = Callable[..., Path]


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def test_every_tensor_equals_the_files_and_the_model_is_in_evaluation_mode(tiny_bert: TinyBert) -> None:
    folder = tiny_bert(head="masked")
    model, info = BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    state = model.state_dict()
    assert all(torch.equal(state[name], values) for name, values in load_file(folder / "model.safetensors").items())
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    assert not model.training
    assert info == {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}


def test_the_bare_body_takes_a_fresh_head_and_says_so_in_one_line(
    tiny_bert: TinyBert, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_bert()
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3)
    stored = load_file(folder / "model.safetensors")
    assert all(torch.equal(model.bert.state_dict()[name], values) for name, values in stored.items())
    assert model.classifier.weight.shape == (3, 32)
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert model.classifier.bias.eq(0).all()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "newly initialised, train them before use: classifier.weight, classifier.bias" in record.getMessage()


def test_nothing_is_said_where_everything_fits(tiny_bert: TinyBert, caplog: pytest.LogCaptureFixture) -> None:
    BertModel.from_pretrained(tiny_bert())
    assert not caplog.records


def test_another_head_is_reported_and_the_pooler_may_be_new(tiny_bert: TinyBert) -> None:
    _, info = BertForSequenceClassification.from_pretrained(tiny_bert(head="masked"), output_loading_info=True)
    assert "bert.pooler.dense.weight" in info["missing_keys"]
    assert "cls.predictions.bias" in info["unexpected_keys"]
    model, info = BertModel.from_pretrained(tiny_bert(head="masked"), output_loading_info=True)
    assert info["missing_keys"] == {"pooler.dense.weight", "pooler.dense.bias"}
    assert model.pooler.dense.bias.eq(0).all()


def test_a_stored_weight_is_kept_where_only_its_bias_is_new(tiny_bert: TinyBert) -> None:
    folder = rewrite(
        tiny_bert(head="sequence"), lambda stored: {k: v for k, v in stored.items() if k != "classifier.bias"}
    )
    model = BertForSequenceClassification.from_pretrained(folder)
    assert torch.equal(model.classifier.weight, load_file(folder / "model.safetensors")["classifier.weight"])
    assert model.classifier.bias.eq(0).all()


def test_old_names_and_buffers_of_public_checkpoints_are_understood(tiny_bert: TinyBert) -> None:
    def age(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
               for k, v in stored.items()}  # fmt: skip
        return {**old, "bert.embeddings.position_ids": torch.arange(64)[None]}

    folder = tiny_bert(head="masked")
    new = BertForMaskedLM.from_pretrained(folder).state_dict()
    old, info = BertForMaskedLM.from_pretrained(rewrite(folder, age), output_loading_info=True)
    assert not any(info.values())
    assert all(torch.equal(values, new[name]) for name, values in old.state_dict().items())


def test_weights_train_in_float32_unless_asked_otherwise(tiny_bert: TinyBert) -> None:
    folder = rewrite(tiny_bert(), lambda stored: {k: v.bfloat16() for k, v in stored.items()})
    assert BertModel.from_pretrained(folder).dtype == torch.float32
    assert BertModel.from_pretrained(folder, dtype="auto").dtype == torch.bfloat16
    assert BertModel.from_pretrained(folder, dtype=torch.float16).dtype == torch.float16
    assert BertModel.from_pretrained(folder, torch_dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ValueError, match=r"dtype: expected 'auto', 'float32', .*, received 'int8'"):
        BertModel.from_pretrained(folder, dtype="int8")


def test_untied_decoders_are_loaded_by_their_own_names(tiny_bert: TinyBert) -> None:
    decoder = torch.full((91, 32), 0.5)

    def untie(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rows = stored["cls.predictions.bias"].shape[0]
        return {
            **stored,
            "cls.predictions.decoder.weight": decoder[:1].expand(rows, 32).contiguous(),
            "cls.predictions.decoder.bias": torch.ones(rows),
        }

    folder = rewrite(tiny_bert(head="masked", tie_word_embeddings=False), untie)
    model = BertForMaskedLM.from_pretrained(folder)
    assert model.cls.predictions.decoder.weight.eq(0.5).all()
    assert model.cls.predictions.decoder.bias.eq(1).all()
    assert not model.get_input_embeddings().weight.eq(0.5).any()


def test_shapes_that_differ_may_be_drawn_anew_if_asked(tiny_bert: TinyBert) -> None:
    folder = tiny_bert(head="sequence", num_labels=4)
    with pytest.raises(ValueError, match=r"classifier.weight is \(4, 32\) in the file and \(7, 32\) here"):
        BertForSequenceClassification.from_pretrained(folder, num_labels=7)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=7, ignore_mismatched_sizes=True)
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 3}, r"asks for layers that its weights do not hold: encoder.layer.2"),
        ({"num_hidden_layers": 10**9}, "asks for 1000000000 layers, but its weights are"),
        (
            {"max_position_embeddings": 100},
            r"position_embeddings.weight is \(64, 32\) in the file and \(100, 32\) here",
        ),
        ({"vocab_size": 10**9}, r"word_embeddings.weight is .* \(1000000000, 32\) here"),
        ({"hidden_size": 2**30, "num_attention_heads": 1}, "have other shapes than the model"),
    ],
)
def test_a_configuration_that_asks_for_more_than_the_file_holds_costs_nothing(
    tiny_bert: TinyBert, settings: dict[str, Any], message: str
) -> None:
    folder = tiny_bert()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        BertModel.from_pretrained(folder)
    assert time.perf_counter() - start < 2


def test_a_body_with_a_hole_is_an_error_and_not_a_random_layer(tiny_bert: TinyBert) -> None:
    lost = "bert.encoder.layer.1.attention.self.query.weight"
    folder = rewrite(tiny_bert(head="masked"), lambda stored: {k: v for k, v in stored.items() if k != lost})
    with pytest.raises(ValueError, match=rf"lack 1 tensors of BertModel .*: {lost}\. Expected a complete body"):
        BertForTokenClassification.from_pretrained(folder)


def test_weights_of_another_model_are_refused(tiny_bert: TinyBert) -> None:
    folder = rewrite(tiny_bert(), lambda stored: {f"gpt.{name}": values for name, values in stored.items()})
    with pytest.raises(ValueError, match=r"No weight in .* fits this model"):
        BertForSequenceClassification.from_pretrained(folder)
