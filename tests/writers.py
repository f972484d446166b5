"""A tiny T5 with a tokenizer of whole words, in the public layout: what tests of generation in evaluation train."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lt_trainer.models.t5 import T5Config, T5ForConditionalGeneration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SPECIAL = ["<pad>", "</s>", "<unk>"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
ZAHLEN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]
TINY: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}


def pairs(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Numbers in words, and the same in German."""
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 8, (int(torch.randint(1, 6, (), generator=draw)),), generator=draw) for _ in range(count)]
    return [{"source": " ".join(NUMBERS[i] for i in row), "target": " ".join(ZAHLEN[i] for i in row)} for row in rows]


def word_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Whole words, with </s> behind each text."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    words = trainers.WordLevelTrainer(special_tokens=SPECIAL)
    tokenizer.train_from_iterator(sorted(texts), words)
    end = ("</s>", 1)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end]
    )
    return tokenizer


def write_t5(folder: Path, texts: Iterable[str] = (*NUMBERS, *ZAHLEN), seed: int = 0, **config: Any) -> Path:
    """Writes model and tokenizer files of a tiny T5 that knows the words of some texts."""
    tokenizer = word_tokenizer(texts)
    torch.manual_seed(seed)
    settings = {**TINY, "vocab_size": tokenizer.get_vocab_size(), "decoder_start_token_id": 0, "dropout_rate": 0.0}
    T5ForConditionalGeneration(T5Config(**{**settings, **config})).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder
