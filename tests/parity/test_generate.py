"""`generate` against `transformers`: token for token, greedy and by beams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from tests import families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

transformers = pytest.importorskip("transformers")

NEW = 14
PAD = 2
GPT2 = {"vocab_size": 80, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 1}
T5 = {
    "vocab_size": 80,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
MODELS = pytest.mark.parametrize("model", ["gpt2", "t5"])
CASES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "repetition": {"repetition_penalty": 1.7},
    "n-grams": {"no_repeat_ngram_size": 2},
    "least": {"min_new_tokens": 6},
    "least in all": {"min_length": 9},
    "beams": {"num_beams": 4},
    "long beams": {"num_beams": 4, "length_penalty": 2.0},
    "short beams": {"num_beams": 4, "length_penalty": -1.0},
    "early beams": {"num_beams": 4, "early_stopping": True},
    "never": {"num_beams": 4, "early_stopping": "never", "length_penalty": 0.5},
    "several beams": {"num_beams": 4, "num_return_sequences": 3},
    "beams without repeats": {"num_beams": 4, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
    "beams of a least length": {"num_beams": 3, "min_new_tokens": 5, "early_stopping": True},
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


def pair_of(model: str, folder: Path, pad: int = PAD) -> tuple[Any, nn.Module, int]:
    """Our model, theirs, and the tokens that the output begins with."""
    if model == "gpt2":
        config = transformers.GPT2Config(**GPT2, eos_token_id=1, pad_token_id=pad)
        ours, theirs = families.pair(families.write(folder, config, "CausalLM"), "CausalLM")
        return ours, theirs, max(families.LENGTHS) + 2
    config = transformers.T5Config(**T5, eos_token_id=1, pad_token_id=pad)
    return *families.pair(families.write(folder, config, "Seq2SeqLM"), "Seq2SeqLM"), 1


def ends_for(theirs: Any, batch: dict[str, Any], prompt: int) -> list[int]:
    """End tokens that rows reach at different steps, some never."""
    free = theirs.generate(**batch, max_new_tokens=NEW, do_sample=False, num_beams=1, eos_token_id=1)
    return sorted({int(free[0, prompt + 3]), int(free[1, prompt + 6]), 1, 9, 13})


@MODELS
@pytest.mark.parametrize("several_ends", [False, True], ids=["one end", "several ends"])
@pytest.mark.parametrize("case", list(CASES))
def test_tokens_are_equal(tmp_path: Path, model: str, case: str, several_ends: bool) -> None:
    ours, theirs, prompt = pair_of(model, tmp_path / "m")
    batch = families.padded(side="left", pad=PAD)
    ends = ends_for(theirs, batch, prompt) if several_ends else 1
    settings = {"max_new_tokens": NEW, "eos_token_id": ends, **CASES[case]}
    expected = theirs.generate(**batch, **settings, do_sample=False)
    assert torch.equal(ours.generate(**batch, **settings), expected)


def test_a_source_may_be_padded_on_the_right(tmp_path: Path) -> None:
    ours, theirs, _ = pair_of("t5", tmp_path / "m")
    batch = families.padded(side="right", pad=PAD)
    for beams in (1, 4):
        expected = theirs.generate(**batch, max_new_tokens=NEW, num_beams=beams, do_sample=False)
        assert torch.equal(ours.generate(**batch, max_new_tokens=NEW, num_beams=beams), expected)


def test_what_follows_an_end_is_the_pad_token_even_if_that_is_0(tmp_path: Path) -> None:
    """In beam search `transformers` writes the end token there: it takes 0 for "no pad token"."""
    ours, theirs, prompt = pair_of("t5", tmp_path / "m", pad=0)
    batch = families.padded(side="left")
    ends = ends_for(theirs, batch, prompt)
    settings = {"max_new_tokens": NEW, "eos_token_id": ends, "num_beams": 4}
    mine, reference = ours.generate(**batch, **settings), theirs.generate(**batch, **settings, do_sample=False)
    assert mine.shape == reference.shape
    after = torch.isin(mine, torch.tensor(ends)).cumsum(1).roll(1, 1) > 0
    after[:, 0] = False
    assert after.any()
    assert torch.equal(mine[~after], reference[~after])
    assert mine[after].eq(0).all()


@MODELS
def test_settings_of_a_folder_are_read_alike(tmp_path: Path, model: str) -> None:
    ours, theirs, _ = pair_of(model, tmp_path / "m")
    theirs.generation_config.max_new_tokens = 5
    theirs.generation_config.num_beams = 3
    theirs.generation_config.no_repeat_ngram_size = 2
    theirs.save_pretrained(tmp_path / "set")
    ours = type(ours).from_pretrained(tmp_path / "set")
    assert ours.generation_config.num_beams == 3
    batch = families.padded(side="left", pad=PAD)
    assert torch.equal(ours.generate(**batch), theirs.generate(**batch))
    ours.save_pretrained(tmp_path / "back")
    back = transformers.GenerationConfig.from_pretrained(tmp_path / "back")
    for name in ("max_new_tokens", "num_beams", "no_repeat_ngram_size", "eos_token_id", "pad_token_id"):
        assert getattr(back, name) == getattr(theirs.generation_config, name)


@MODELS
def test_drawn_tokens_come_as_often(tmp_path: Path, model: str) -> None:
    """The first token's shares over many draws, narrowed alike."""
    ours, theirs, prompt = pair_of(model, tmp_path / "m")
    batch = {name: values.repeat(400, 1) for name, values in families.padded((5,), extra=0).items()}
    settings = {"do_sample": True, "max_new_tokens": 1, "temperature": 0.7, "top_k": 6, "top_p": 0.9}
    shares = []
    for library in (ours, theirs):
        torch.manual_seed(0)
        shares.append(library.generate(**batch, **settings)[:, prompt if model == "t5" else 5].bincount(minlength=80))
    assert torch.equal(*shares)  # one draw each of the same numbers
    assert 1 < (shares[0] > 0).sum() <= 6
