"""DistilBERT against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from typing import Any

from tests import families

CONFIG = "DistilBertConfig"
PRETRAINED = "MaskedLM"
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]
SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,
    "max_position_embeddings": 40,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "qa_dropout": 0.0,
    "seq_classif_dropout": 0.0,
}


class TestDistilBERT(families.Parity):
    """As every family."""
