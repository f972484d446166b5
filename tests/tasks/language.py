"""Tiny models and tokenizers of language modelling, and quiet ways to train them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lt_trainer import AutoConfig, AutoModelForCausalLM, TrainingArguments
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

WORDS = ["the cat sat on the mat", "a dog ran", "the sun is warm and the sea is cold", "who sees the old ship", "go"]
TEXTS = WORDS * 6
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """Bytes and a few merges, with an end token and no pad token, as GPT-2 has it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(backend, eos_token="<|end|>", bos_token="<|end|>", **options)


def tiny_gpt2(vocab_size: int = 300, seed: int = 0) -> Any:
    """Two layers of width 32, without dropout."""
    torch.manual_seed(seed)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", vocab_size=vocab_size, **sizes, **none))


def arguments(folder: Any, **options: Any) -> TrainingArguments:
    settings = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_strategy": "no"}
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    return TrainingArguments(output_dir=str(folder), **(settings | quiet | options))


def lightning(tmp_path: Any, **options: Any) -> pl.Trainer:
    names = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger")
    return pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, **dict.fromkeys(names, False), **options)


def losses_of(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
