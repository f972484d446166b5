from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lt_trainer.tokenization import AutoTokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [
    "The film is a good and gentle story.",
    "A bad film, and a long one; it isn't worth the evening.",
    "Eine kleine Straße führt über den Fluß, naïve café in Zürich.",
    "Two men play chess in the park while 3 children watch.",
    "She said: \"don't stop\" - and they didn't, for 42 minutes!",
    "我 爱 北京 and Tokyo 東京.",
]


def train_wordpiece(texts, lowercase, size=400):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def train_bpe(texts, size=600):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_unigram(texts, size=300):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def write_folder(folder: Path, tokenizer: Tokenizer | None, config: dict, model_type: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if model_type is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    return folder


def write_vocab(folder: Path, tokenizer: Tokenizer) -> None:
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in tokens), encoding="utf-8")


def make_folders(root: Path, texts: list[str], size: int = 400) -> dict[str, Path]:
    """One folder a kind: the files as public checkpoints have them."""
    bert = {"model_max_length": 64, "do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    folders = {
        "uncased": write_folder(root / "uncased", train_wordpiece(texts, True, size), bert, "bert"),
        "cased": write_folder(root / "cased", None, {**bert, "do_lower_case": False}, "bert"),
        "bpe": write_folder(
            root / "bpe",
            train_bpe(texts, size + 200),
            {
                "model_max_length": 64,
                "tokenizer_class": "GPT2Tokenizer",
                **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
            },
            "gpt2",
        ),
        "unigram": write_folder(
            root / "unigram",
            train_unigram(texts, size),
            {
                "model_max_length": 64,
                "tokenizer_class": "PreTrainedTokenizerFast",
                **{"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
            },
        ),
    }
    write_vocab(folders["cased"], train_wordpiece(texts, False, size))
    return folders


KINDS = ("uncased", "cased", "bpe", "unigram")


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    return make_folders(tmp_path_factory.mktemp("tokenizers"), TEXTS)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def ours(folders, kind):
    return AutoTokenizer.from_pretrained(folders[kind])


@pytest.fixture
def theirs(folders, kind):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folders[kind])


@pytest.fixture
def words_only(tmp_path):
    """A tokenizer whose ids one can read: a word is its place in the list."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "play", "##ing", "."]
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return AutoTokenizer.from_pretrained(tmp_path, model_max_length=8)


@pytest.fixture(scope="session")
def big_folders(tmp_path_factory, shared_data) -> dict[str, Path]:
    """The four kinds, trained on the shared data."""
    lines = (shared_data / "sst2" / "train.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines[:1500]]
    texts += (shared_data / "multi30k" / "train.de").read_text(encoding="utf-8").splitlines()[:700]
    return make_folders(tmp_path_factory.mktemp("big"), texts, size=2500)
