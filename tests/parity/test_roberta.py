"""RoBERTa against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from typing import Any

from tests import families

CONFIG = "RobertaConfig"
PRETRAINED = "MaskedLM"
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]
SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "type_vocab_size": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class TestRoBERTa(families.Parity):
    """As every family."""

    pad_token = 1
    counts_columns = False
