"""Tokenizers of folders without tokenizer.json, beside those that `transformers` makes of the same files."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models

from lt_trainer.tokenization import AutoTokenizer, GPT2Tokenizer, LlamaTokenizer, RobertaTokenizer, T5Tokenizer, older
from tests.tokenization.conftest import TEXTS, train_bpe, train_wordpiece, write_vocab

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [*TEXTS, "  two  spaces ", "ﬁ ① ½ Å", "a\tb\nc", "emoji 😀 é", "<mask> good<|endoftext|>", "", "<extra_id_0> x"]
ENDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def write_byte_level(folder: Path, texts: list[str], kind: str, size: int = 600, config: bool = True) -> Path:
    """vocab.json and merges.txt, as the public checkpoints have them."""
    backend = train_bpe(texts, size)
    backend.model.save(str(folder))
    if kind == "roberta":
        vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        tokens = [*ENDS[:4], *(token for token in vocab if token != "<|endoftext|>"), ENDS[4]]
        write(folder, "vocab.json", {token: index for index, token in enumerate(tokens)})
    if config:
        write(folder, "config.json", {"model_type": kind})
        write(folder, "tokenizer_config.json", {"model_max_length": 64})
    return folder


def assert_equal(ours: Any, theirs: Any, rows: list[str]) -> None:
    assert dict(ours(rows)) == dict(theirs(rows))
    pairs = rows, [*rows[1:], rows[0]]
    assert ours(*pairs)["input_ids"] == theirs(*pairs)["input_ids"]
    words = [row.split() for row in rows if row.split()]
    if getattr(theirs, "add_prefix_space", True):
        assert (
            ours(words, is_split_into_words=True)["input_ids"] == theirs(words, is_split_into_words=True)["input_ids"]
        )
    ids = ours(rows)["input_ids"]
    for skip in (True, False):
        assert ours.batch_decode(ids, skip_special_tokens=skip) == theirs.batch_decode(ids, skip_special_tokens=skip)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert (
        ours(rows, return_offsets_mapping=True)["offset_mapping"]
        == (theirs(rows, return_offsets_mapping=True)["offset_mapping"])
    )


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_byte_level_files_are_read_as_transformers_does(tmp_path: Path, kind: str, prefix: bool) -> None:
    transformers = pytest.importorskip("transformers")
    write_byte_level(tmp_path, TEXTS, kind)
    ours = AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=prefix)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=prefix)
    assert type(ours) is {"gpt2": GPT2Tokenizer, "roberta": RobertaTokenizer}[kind]
    assert_equal(ours, theirs, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "roberta", "bert"])
def test_real_text_has_the_same_ids(tmp_path: Path, shared_data: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    wiki = (shared_data / "wikitext2" / "valid.txt").read_text(encoding="utf-8").splitlines()
    texts = [*wiki, *(shared_data / "multi30k" / "val.de").read_text(encoding="utf-8").splitlines()]
    if kind == "bert":
        write_vocab(tmp_path, train_wordpiece(texts, True, 3000))
        write(tmp_path, "config.json", {"model_type": "bert"})
        write(tmp_path, "tokenizer_config.json", {"do_lower_case": True})
    else:
        write_byte_level(tmp_path, texts, kind, 3000)
    ours, theirs = AutoTokenizer.from_pretrained(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]


@pytest.mark.parametrize(("kind", "first"), [("gpt2", "good"), ("roberta", "<s>")])
def test_byte_level_files_alone_show_their_family(tmp_path: Path, kind: str, first: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_byte_level(tmp_path, TEXTS, kind, config=False))
    assert type(tokenizer) is {"gpt2": GPT2Tokenizer, "roberta": RobertaTokenizer}[kind]
    row = tokenizer("good film")
    assert first.startswith(tokenizer.convert_ids_to_tokens(row["input_ids"][0]))
    assert tokenizer.decode(row["input_ids"], skip_special_tokens=True) == "good film"


def test_what_was_read_is_saved_as_a_tokenizer_json(tmp_path: Path) -> None:
    ours = AutoTokenizer.from_pretrained(write_byte_level(tmp_path, TEXTS, "roberta"))
    ours.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert type(again) is RobertaTokenizer
    assert dict(again(ROWS)) == dict(ours(ROWS))


@pytest.mark.parametrize(
    ("name", "content"), [("merges.txt", "#version: 0.2\nqq zz\n"), ("merges.txt", "a\n"), ("vocab.json", "[1]")]
)
def test_broken_byte_level_files_are_named(tmp_path: Path, name: str, content: str) -> None:
    write_byte_level(tmp_path, TEXTS, "gpt2")
    write(tmp_path, name, content)
    with pytest.raises(ValueError, match=r"vocab\.json and merges\.txt: not a vocabulary"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_vocabulary_without_the_tokens_around_a_text_is_refused(tmp_path: Path) -> None:
    write_byte_level(tmp_path, TEXTS, "gpt2")
    write(tmp_path, "config.json", {"model_type": "roberta"})
    with pytest.raises(ValueError, match=r"has no sep_token '</s>'.*RoBERTa's"):
        AutoTokenizer.from_pretrained(tmp_path)


# --- sentencepiece ----------------------------------------------------------------------------------------------------


def write_sentencepiece(folder: Path, kind: str, texts: list[str], size: int = 180) -> Path:
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    special = {
        "t5": {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
        "llama": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"},
    }[kind]
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "made"),
        vocab_size=size + 256 * (kind == "llama"),
        hard_vocab_limit=False,
        minloglevel=3,
        **special,
    )
    (folder / "made.model").rename(folder / {"t5": "spiece.model", "llama": "tokenizer.model"}[kind])
    write(folder, "config.json", {"model_type": kind})
    write(folder, "tokenizer_config.json", {"tokenizer_class": {"t5": "T5Tokenizer", "llama": "LlamaTokenizer"}[kind]})
    return folder


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_sentencepiece_models_are_read_as_transformers_does(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_sentencepiece(tmp_path, kind, TEXTS * 20)
    ours, theirs = AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert type(ours) is {"t5": T5Tokenizer, "llama": LlamaTokenizer}[kind]
    assert ours(ROWS)["input_ids"] == theirs(ROWS)["input_ids"]
    assert len(ours) == len(theirs)
    ids = ours(ROWS)["input_ids"]
    assert ours.batch_decode(ids, skip_special_tokens=True) == theirs.batch_decode(ids, skip_special_tokens=True)


def test_the_pieces_are_those_of_sentencepiece(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = write_sentencepiece(tmp_path, "t5", TEXTS * 20)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer(TEXTS, add_special_tokens=False)["input_ids"] == processor.encode(TEXTS)


def test_without_its_package_a_sentencepiece_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    write(tmp_path, "spiece.model", "x")
    write(tmp_path, "config.json", {"model_type": "t5"})
    with pytest.raises(ImportError, match=r"spiece\.model is a sentencepiece model.*lt-trainer\[sentencepiece\]"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_file_that_is_no_sentencepiece_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    write(tmp_path, "config.json", {"model_type": "t5"})
    for content in (b"\xff\xff\xff", b""):
        (tmp_path / "spiece.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"spiece\.model: (not )?a sentencepiece model"):
            AutoTokenizer.from_pretrained(tmp_path)


def test_pieces_merge_in_the_order_of_their_scores() -> None:
    scores = {"a": -1.0, "b": -2.0, "c": -3.0, "ab": -4.0, "bc": -5.0, "abc": -6.0}
    vocab = {piece: index for index, piece in enumerate(scores)}
    assert older._merges(scores, vocab) == [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    backend = Tokenizer(models.BPE(vocab, older._merges(scores, vocab)))
    assert backend.encode("abcab").tokens == ["abc", "ab"]


# --- what only `transformers` reads -----------------------------------------------------------------------------------


def test_older_files_of_other_families_come_through_transformers(tmp_path: Path, caplog: Any) -> None:
    transformers = pytest.importorskip("transformers")
    write_byte_level(tmp_path, TEXTS, "gpt2")
    write(tmp_path, "config.json", {"model_type": "gpt_neo"})
    ours = AutoTokenizer.from_pretrained(tmp_path)
    assert "of `transformers` read it" in caplog.text
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours(ROWS)["input_ids"] == theirs(ROWS)["input_ids"]
    assert ours.special_tokens_map == theirs.special_tokens_map
