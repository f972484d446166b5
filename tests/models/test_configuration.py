from __future__ import annotations

import json
from typing import Any

import pytest

from lt_trainer.models.bert import BertConfig
from lt_trainer.models.gpt2 import GPT2Config
from lt_trainer.models.roberta import RobertaConfig
from lt_trainer.models.t5 import T5Config
from tests.support import BERT_CONFIG


def test_every_key_of_a_file_survives_a_round_trip() -> None:
    values = {**BERT_CONFIG, "from_the_future": [1, {"a": 2}], "gradient_checkpointing": False}
    written = BertConfig.from_dict(values).to_dict()
    assert {name: written[name] for name in values} == values
    assert BertConfig.from_dict(written).to_dict() == written


def test_version_4_wrote_the_type_as_torch_dtype() -> None:
    config = BertConfig.from_dict({**BERT_CONFIG, "torch_dtype": "bfloat16"})
    assert config.dtype == "bfloat16"
    assert "torch_dtype" not in config.to_dict()


def test_labels_are_plain_by_default_and_not_written() -> None:
    config = BertConfig()
    assert config.num_labels == 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert "id2label" not in config.to_dict()


def test_num_labels_replaces_the_names_of_a_file() -> None:
    values = {**BERT_CONFIG, "id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    assert BertConfig.from_dict(values).id2label == {0: "bad", 1: "good"}
    assert BertConfig.from_dict(values, num_labels=2).id2label == {0: "bad", 1: "good"}
    assert BertConfig.from_dict(values, num_labels=3).label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


def test_names_give_the_number_and_their_inverse() -> None:
    config = BertConfig(id2label={0: "a", 1: "b", 2: "c"})
    assert config.num_labels == 3
    assert config.label2id == {"a": 0, "b": 1, "c": 2}
    assert BertConfig(label2id={"a": 0, "b": 1, "c": 2}).id2label == config.id2label
    assert BertConfig.from_dict({**BERT_CONFIG, "id2label": {"0": "x"}}, id2label={0: "a", 1: "b"}).num_labels == 2
    assert json.loads(config.to_json_string())["id2label"] == {"0": "a", "1": "b", "2": "c"}


def test_configurations_share_no_labels() -> None:
    first, second = BertConfig(), BertConfig()
    first.num_labels = 5
    assert second.num_labels == 2


def test_names_and_number_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="num_labels=3 and id2label, which names 2 classes, disagree"):
        BertConfig(num_labels=3, id2label={0: "a", 1: "b"})


def test_a_misspelt_setting_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"no setting 'hiden_size'; did you mean 'hidden_size'?"):
        BertConfig(hiden_size=3)
    with pytest.raises(TypeError, match=r"no setting 'num_lables'; did you mean 'num_labels'?"):
        BertConfig.from_dict(BERT_CONFIG, num_lables=3)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"vocab_size='x': expected a whole.*hidden_dropout_prob=1.0.*hidden_act='gelo'"
    ):
        BertConfig(vocab_size="x", hidden_dropout_prob=1.0, hidden_act="gelo")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 10, "num_attention_heads": 3}, "hidden_size=10: expected a multiple of num_attention_heads=3"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0: expected a whole number of at least 1"),
        ({"vocab_size": True}, "vocab_size=True"),
        ({"hidden_act": ["gelu"]}, "hidden_act="),
        ({"is_decoder": True}, "BERT as a decoder is not native"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"problem_type": "clasification"}, "problem_type='clasification': expected one of regression"),
        ({"problem_type": "single_label_classification", "id2label": {0: "a"}}, "needs at least 2 labels"),
        ({"id2label": ["a", "b"]}, r"id2label=\['a', 'b'\].*expected a mapping"),
        ({"id2label": {"first": "a"}}, "expected a mapping of class numbers"),
        ({"num_labels": 10**12}, "num_labels: expected a whole number of 1 to 10000000, received 1000000000000"),
        ({"num_labels": 0}, "received 0"),
    ],
)
def test_values_that_no_model_can_have_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BertConfig.from_dict({**BERT_CONFIG, **values})


def test_equal_settings_are_equal() -> None:
    assert BertConfig(hidden_size=24) == BertConfig(hidden_size=24)
    assert BertConfig(hidden_size=24) != BertConfig()
    assert '"hidden_size": 24' in repr(BertConfig(hidden_size=24))


def test_a_setting_answers_to_its_common_name_and_is_written_under_its_own() -> None:
    config = GPT2Config(hidden_size=24, n_head=2)
    assert config.n_embd == config.hidden_size == 24
    config.num_hidden_layers = 3
    assert config.n_layer == 3
    written = config.to_dict()
    assert written["n_embd"] == 24
    assert not {"hidden_size", "num_hidden_layers"} & set(written)
    with pytest.raises(AttributeError, match="GPT2Config has no setting 'hidden_sise'"):
        _ = config.hidden_sise


@pytest.mark.parametrize(
    ("config", "tokens"),
    [(BertConfig(), 512), (RobertaConfig(max_position_embeddings=514), 512), (GPT2Config(), 1024), (T5Config(), None)],
)
def test_how_long_a_row_may_be(config: BertConfig, tokens: int | None) -> None:
    assert config.max_row_tokens == tokens
