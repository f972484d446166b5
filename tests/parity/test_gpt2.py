"""GPT-2 against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from typing import Any

from tests import families

CONFIG = "GPT2Config"
PRETRAINED = "CausalLM"
HEADS = ["CausalLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"]
SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


class TestGPT2(families.Parity):
    """As every family."""

    reads_first_token = False
