from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lt_trainer.models import auto, bert, foreign
from lt_trainer.models.auto import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

TinyBert = Callable[..., Path]


@pytest.mark.parametrize(
    ("auto_class", "model_class"),
    [
        (AutoModel, bert.BertModel),
        (AutoModelForSequenceClassification, bert.BertForSequenceClassification),
        (AutoModelForTokenClassification, bert.BertForTokenClassification),
        (AutoModelForQuestionAnswering, bert.BertForQuestionAnswering),
        (AutoModelForMaskedLM, bert.BertForMaskedLM),
    ],
)
def test_the_model_type_and_the_auto_class_choose_the_class(tiny_bert: TinyBert, auto_class, model_class) -> None:
    folder = tiny_bert()
    assert type(auto_class.from_pretrained(folder)) is model_class
    assert type(auto_class.from_config(AutoConfig.from_pretrained(folder))) is model_class


def test_names_and_numbers_of_labels_reach_the_head(tiny_bert: TinyBert) -> None:
    names = {0: "neg", 1: "neutral", 2: "pos"}
    inverse = {name: number for number, name in names.items()}
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_bert(), num_labels=3, id2label=names, label2id=inverse
    )
    assert model.config.id2label == names
    assert model.config.label2id == inverse
    assert model.classifier.out_features == 3


def test_the_configuration_knows_where_it_came_from_but_does_not_write_it(tiny_bert: TinyBert) -> None:
    config = AutoConfig.from_pretrained(tiny_bert(), num_labels=5)
    assert config.num_labels == 5
    assert config.name_or_path.endswith("tiny-bert")
    assert "name_or_path" not in config.to_dict()


def test_a_configuration_of_a_family_by_name() -> None:
    assert AutoConfig.for_model("bert", hidden_size=24).to_dict()["hidden_size"] == 24


def test_settings_may_be_given_beside_the_folder(tiny_bert: TinyBert) -> None:
    folder = tiny_bert(head="masked")
    model = AutoModelForMaskedLM.from_pretrained(folder, hidden_dropout_prob=0.5, attn_implementation="eager")
    assert model.config.hidden_dropout_prob == 0.5
    ids = torch.tensor([[2, 7, 3]])
    torch.testing.assert_close(model(ids).logits, AutoModelForMaskedLM.from_pretrained(folder)(ids).logits)
    with pytest.raises(TypeError, match="no setting 'hidden_dropout'; did you mean 'hidden_dropout_prob'"):
        AutoModelForMaskedLM.from_pretrained(folder, hidden_dropout=0.5)
    with pytest.raises(ValueError, match="attn_implementation='flash_attention_2': expected one of sdpa, eager"):
        AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="flash_attention_2")


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "is_installed", lambda: False)


@pytest.mark.usefixtures("without_the_extra")
@pytest.mark.parametrize("model_type", ["gpt_neox", None, ["bert"]])
def test_another_family_names_the_native_ones_and_the_extra(tiny_bert: TinyBert, model_type: object) -> None:
    folder = tiny_bert()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type}))
    for load in (AutoConfig.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(
            ValueError, match=r"not a native family; native are: bert, roberta, .*t5\. .*lt-trainer\[transformers\]"
        ):
            load(folder)


@pytest.mark.usefixtures("without_the_extra")
@pytest.mark.parametrize("auto_class", [AutoModelForCausalLM, AutoModelForSeq2SeqLM])
def test_a_head_that_a_family_lacks_is_named(tiny_bert: TinyBert, auto_class) -> None:
    with pytest.raises(
        ValueError, match=rf"{auto_class.__name__} .*'bert' has no such head.*lt-trainer\[transformers\]"
    ):
        auto_class.from_pretrained(tiny_bert())


def test_an_auto_class_is_not_instantiated() -> None:
    with pytest.raises(TypeError, match="AutoModel is made by from_pretrained"):
        AutoModel()


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_folder_with_a_file_missing_says_which(tiny_bert: TinyBert, lost: str) -> None:
    folder = tiny_bert()
    (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=lost):
        AutoModel.from_pretrained(folder)


def test_a_new_family_is_one_module_and_one_row(tiny_bert: TinyBert, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy family: a configuration, a model, a head, and a row in the registry."""
    import sys
    import types

    class ToyConfig(bert.BertConfig):
        model_type = "toy"

    class ToyForSequenceClassification(bert.BertForSequenceClassification):
        config_class = ToyConfig

    module = types.ModuleType("toy_family")
    vars(module).update(
        ToyConfig=ToyConfig, MODELS={"AutoModelForSequenceClassification": ToyForSequenceClassification}
    )
    monkeypatch.setitem(sys.modules, "toy_family", module)
    monkeypatch.setitem(auto.FAMILIES, "toy", ("toy_family", "ToyConfig"))
    folder = tiny_bert(model_type="toy")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(model) is ToyForSequenceClassification
    with pytest.raises(ValueError, match="families that have: bert"):
        AutoModelForMaskedLM.from_pretrained(folder)
