from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer

import lt_trainer
from lt_trainer.tokenization import AutoTokenizer, PreTrainedTokenizerFast, classes
from tests.tokenization.conftest import TEXTS
from tests.tokenization.test_older import write_byte_level

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("kind", "name"), [("uncased", "BertTokenizer"), ("cased", "BertTokenizer"), ("bpe", "GPT2Tokenizer")]
)
def test_a_folder_gives_the_class_of_its_family(folders: dict[str, Path], kind: str, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    assert type(tokenizer) is getattr(lt_trainer, name) is getattr(lt_trainer, f"{name}Fast")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert dict(pickle.loads(pickle.dumps(tokenizer))(TEXTS)) == dict(tokenizer(TEXTS))


def test_a_class_loads_a_folder_that_does_not_name_it(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((folders["cased"] / "vocab.txt").read_bytes())
    tokenizer = lt_trainer.DistilBertTokenizerFast.from_pretrained(tmp_path, do_lower_case=False)
    assert type(tokenizer) is lt_trainer.DistilBertTokenizer
    assert list(tokenizer("good")) == ["input_ids", "attention_mask"]
    cased = AutoTokenizer.from_pretrained(folders["cased"])
    assert tokenizer(TEXTS)["input_ids"] == cased(TEXTS)["input_ids"]


def test_a_class_is_made_of_its_files(folders: dict[str, Path], tmp_path: Path) -> None:
    vocab = folders["cased"] / "vocab.txt"
    bert = lt_trainer.BertTokenizer(vocab_file=vocab, do_lower_case=False)
    assert bert(TEXTS)["input_ids"] == AutoTokenizer.from_pretrained(folders["cased"])(TEXTS)["input_ids"]
    write_byte_level(tmp_path, TEXTS, "gpt2")
    gpt2 = lt_trainer.GPT2TokenizerFast(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert gpt2(TEXTS)["input_ids"] == AutoTokenizer.from_pretrained(tmp_path)(TEXTS)["input_ids"]
    file = folders["uncased"] / "tokenizer.json"
    of_json = lt_trainer.BertTokenizerFast(tokenizer_file=file)
    assert of_json(TEXTS)["input_ids"] == AutoTokenizer.from_pretrained(folders["uncased"])(TEXTS)["input_ids"]
    of_object = lt_trainer.BertTokenizerFast(tokenizer_object=Tokenizer.from_file(str(file)))
    assert of_object.pad_token == "[PAD]"
    assert type(of_object) is lt_trainer.BertTokenizerFast


def test_without_files_a_class_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="received neither"):
        lt_trainer.BertTokenizer()


@pytest.mark.parametrize("kind", list(classes.KINDS.values()))
def test_names_are_those_of_transformers(kind: Any) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, kind.__name__)
    assert kind.__name__ == kind.family.name
    assert list(kind.family.model_input_names) == sorted(
        theirs.model_input_names, key=kind.family.model_input_names.index
    )
