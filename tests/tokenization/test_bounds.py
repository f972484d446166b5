from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models, normalizers, processors

from lt_trainer.tokenization import AutoTokenizer
from lt_trainer.tokenization.bounds import MAX_GROWTH, MAX_STEPS, check_bounds, problem_of_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 2


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def precompiled(*texts: bytes) -> dict[str, Any]:
    """A table with an empty trie: it replaces nothing, and its texts are what counts."""
    trie = (256).to_bytes(4, "little") + bytes(256)
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(trie + b"\0".join(texts)).decode()}


def write(folder: Path, **parts: Any) -> Path:
    model = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    content = {"version": "1.0", "added_tokens": [], "model": model, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def refused(what: str) -> AbstractContextManager[Any]:
    return pytest.raises(ValueError, match=rf"tokenizer\.json: .*{what}")


def test_the_bomb_is_one(tmp_path: Path) -> None:
    """Three of twenty steps already make a million letters of one."""
    step = normalizers.Replace("a", "a" * 100)
    assert len(normalizers.Sequence([step] * 3).normalize_str("a")) == 10**6


@pytest.mark.parametrize(
    "steps",
    [
        [replace("a", "a" * 10)] * 20,
        [replace("a", "a" * (MAX_GROWTH + 1))],
        [replace("", "a" * MAX_GROWTH)],
        [replace(".", "a" * 40, "Regex")] * 2,
        [replace("aa", "aaa")] * 20,
        [sequence(replace("a", "a" * 40)), sequence(sequence(replace("b", "b" * 40)))],
    ],
)
def test_replacements_that_multiply_are_refused(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    with refused("the normalizer can make a text .* times as long"):
        AutoTokenizer.from_pretrained(write(tmp_path, normalizer=sequence(*steps)))


def test_a_replacement_in_the_decoder_is_bounded_too(tmp_path: Path) -> None:
    decoder = {"type": "Sequence", "decoders": [replace("a", "a" * 100)] * 5}
    with refused("the decoder can make a text"):
        AutoTokenizer.from_pretrained(write(tmp_path, decoder=decoder))


def test_a_table_with_a_long_text_counts_as_a_replacement() -> None:
    assert problem_of_part(precompiled(b"x", b"y" * 54)) is None
    assert "times as long" in str(problem_of_part(precompiled(b"x", b"y" * (MAX_GROWTH + 1))))


@pytest.mark.parametrize(("count", "depth"), [(MAX_STEPS, 1), (1, MAX_STEPS)])
def test_the_number_of_steps_is_bounded(tmp_path: Path, count: int, depth: int) -> None:
    part = sequence(*[{"type": "Lowercase"}] * count)
    for _ in range(depth - 1):
        part = sequence(part)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        AutoTokenizer.from_pretrained(write(tmp_path, normalizer=part))


@pytest.mark.parametrize("kind", ["normalizer", "pre_tokenizer"])
def test_a_pattern_that_may_never_end_is_refused(tmp_path: Path, kind: str) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    part = split if kind == "pre_tokenizer" else replace("(a+)+$", "", "Regex")
    with refused(rf"the {kind} has the pattern '\(a\+\)\+\$', which repeats a choice"):
        AutoTokenizer.from_pretrained(write(tmp_path, **{kind: part}))


def test_what_is_put_before_a_text_is_bounded(tmp_path: Path) -> None:
    with refused("adds 5000 characters or tokens"):
        AutoTokenizer.from_pretrained(write(tmp_path, normalizer={"type": "Prepend", "prepend": "x" * 5000}))


def test_special_tokens_around_a_text_are_bounded(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0}, "a"))
    backend.post_processor = processors.TemplateProcessing("a " * 2000 + "$A", None, [("a", 0)])
    with pytest.raises(ValueError, match="the post_processor adds 2001"):
        check_bounds(tmp_path / "tokenizer.json", backend)


def test_the_longest_word_of_wordpiece_is_bounded(tmp_path: Path) -> None:
    model = {"type": "WordPiece", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9}
    with refused("max_input_chars_per_word=1000000000: expected at most"):
        AutoTokenizer.from_pretrained(write(tmp_path, model=model))


def test_what_public_tokenizers_do_is_fine(tmp_path: Path) -> None:
    albert = sequence(
        *(replace("``", '"'), replace("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
        *(precompiled(b"x" * 54), replace(" {2,}", " ", "Regex")),
    )
    assert problem_of_part(albert) is None
    llama = sequence({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁"))
    AutoTokenizer.from_pretrained(write(tmp_path, normalizer=llama))


def test_a_file_that_is_cut_anywhere_is_refused_at_once(tmp_path: Path) -> None:
    whole = (write(tmp_path) / "tokenizer.json").read_text()
    for end in range(len(whole)):
        (tmp_path / "tokenizer.json").write_text(whole[:end])
        with refused("not a tokenizer"):
            AutoTokenizer.from_pretrained(tmp_path)
