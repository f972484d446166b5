from __future__ import annotations

import json
import logging

import pytest
from tokenizers import AddedToken, Tokenizer, models

from lt_trainer.tokenization import AutoTokenizer, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "Good", "e", "é", "film"]


def write(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def vocab(tmp_path):
    write(tmp_path, "vocab.txt", "".join(f"{word}\n" for word in WORDS))
    return tmp_path


def peer_of(folder, **kwargs):
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder, **kwargs)


# --- vocab.txt --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
    ],
)
def test_a_vocabulary_is_read_as_transformers_does(vocab, config):
    write(vocab, "tokenizer_config.json", {**config, "tokenizer_class": "BertTokenizer"})
    write(vocab, "config.json", {"model_type": "bert"})
    ours, theirs = AutoTokenizer.from_pretrained(vocab), peer_of(vocab)
    rows = ["Good good é E film", "film東京good", "[MASK] good[SEP]", "x" * 200]
    assert dict(ours(rows)) == dict(theirs(rows))
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.get_vocab() == theirs.get_vocab()


def test_a_vocabulary_alone_is_berts(vocab):
    tokenizer = AutoTokenizer.from_pretrained(vocab)
    assert tokenizer("Good film")["input_ids"] == [2, 5, 9, 3]
    assert tokenizer.tokenizer_class == "BertTokenizer"
    assert AutoTokenizer.from_pretrained(vocab / "vocab.txt")("Good film")["input_ids"] == [2, 5, 9, 3]


def test_the_callers_options_win(vocab):
    write(vocab, "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 7, "padding_side": "right"})
    tokenizer = AutoTokenizer.from_pretrained(
        vocab, use_fast=False, do_lower_case=False, model_max_length=4, padding_side="left", truncation_side="left"
    )
    assert tokenizer("Good good film", truncation=True)["input_ids"] == [2, 5, 9, 3]
    assert tokenizer(["Good", "Good film"], padding=True)["input_ids"] == [[0, 2, 6, 3], [2, 6, 9, 3]]


@pytest.mark.parametrize("missing", ["[UNK]", "[CLS]", "[SEP]"])
def test_a_vocabulary_without_a_needed_token_is_refused(tmp_path, missing):
    write(tmp_path, "vocab.txt", "".join(f"{word}\n" for word in WORDS if word != missing))
    with pytest.raises(ValueError, match=rf"vocab.txt: the vocabulary of 9 tokens has no \w+_token '\{missing}"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_vocabulary_of_another_family_is_refused(vocab, monkeypatch):
    monkeypatch.setattr("lt_trainer.tokenization.auto.importlib.util.find_spec", lambda name: None)
    write(vocab, "config.json", {"model_type": "esm"})
    with pytest.raises(FileNotFoundError, match=r"is a 'esm'.*BERT's families only"):
        AutoTokenizer.from_pretrained(vocab)


# --- settings of files ------------------------------------------------------------------------------------------------


def test_distilbert_takes_no_token_type_ids(vocab):
    write(vocab, "config.json", {"model_type": "distilbert"})
    assert list(AutoTokenizer.from_pretrained(vocab)("good")) == ["input_ids", "attention_mask"]


def test_model_input_names_of_the_file_decide(vocab):
    write(vocab, "tokenizer_config.json", {"model_input_names": ["input_ids"]})
    assert list(AutoTokenizer.from_pretrained(vocab)("good")) == ["input_ids"]


def test_case_in_the_settings_wins_over_tokenizer_json(vocab, folders, texts):
    (vocab / "vocab.txt").unlink()
    tokenizer_json = (folders["uncased"] / "tokenizer.json").read_text(encoding="utf-8")
    for name, settings in {"no": {"do_lower_case": False}, "default": {}}.items():
        write(vocab / name, "tokenizer.json", tokenizer_json)
        write(vocab / name, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **settings})
        write(vocab / name, "config.json", {"model_type": "bert"})
        ours, theirs = AutoTokenizer.from_pretrained(vocab / name), peer_of(vocab / name)
        assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]


def test_files_of_transformers_4_are_read(vocab):
    """Special tokens in a file of their own, added ones in another, no added_tokens_decoder."""
    write(vocab, "tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    write(vocab, "config.json", {"model_type": "bert"})
    mask = {"content": "[MASK]", "lstrip": True, "rstrip": False, "single_word": False, "normalized": True}
    special = {"cls_token": "[CLS]", "mask_token": mask, "additional_special_tokens": ["<new>"]}
    write(vocab, "special_tokens_map.json", special)
    write(vocab, "added_tokens.json", {"<new>": 10, "goodfilm": 11})
    ours, theirs = AutoTokenizer.from_pretrained(vocab), peer_of(vocab)
    rows = ["good <new> film", "a goodfilm [MASK] x"]
    assert ours(rows)["input_ids"] == theirs(rows)["input_ids"]
    assert ours.extra_special_tokens == ["<new>"]
    assert ours.mask_token == "[MASK]"
    assert len(ours) == 12


def test_added_tokens_of_the_settings_are_added(vocab):
    write(vocab, "config.json", {"model_type": "bert"})
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    listed = {str(i): {"content": word, **flags} for i, word in enumerate([*WORDS[:5]])}
    listed["10"] = {"content": "<tag>", **flags}
    config = {"added_tokens_decoder": listed, "extra_special_tokens": ["<tag>"], "tokenizer_class": "BertTokenizer"}
    write(vocab, "tokenizer_config.json", config)
    ours, theirs = AutoTokenizer.from_pretrained(vocab), peer_of(vocab)
    assert ours("good <tag>")["input_ids"] == theirs("good <tag>")["input_ids"] == [2, 5, 10, 3]
    assert ours.all_special_tokens == theirs.all_special_tokens


def test_an_added_token_with_another_id_is_said(vocab, caplog):
    write(vocab, "tokenizer_config.json", {"added_tokens_decoder": {"77": {"content": "<tag>", "special": True}}})
    with caplog.at_level(logging.WARNING):
        AutoTokenizer.from_pretrained(vocab)
    assert "'<tag>' has the id 77 in tokenizer_config.json and 10 in the vocabulary" in caplog.text


def test_a_prefix_space_can_be_asked_for(folders, texts):
    ours = AutoTokenizer.from_pretrained(folders["bpe"], add_prefix_space=True)
    theirs = peer_of(folders["bpe"], add_prefix_space=True)
    words = [text.split() for text in texts]
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]
    assert ours(words, is_split_into_words=True)["input_ids"] == theirs(words, is_split_into_words=True)["input_ids"]


def test_begin_and_end_tokens_can_be_asked_for(folders):
    tokenizer = AutoTokenizer.from_pretrained(folders["bpe"], add_bos_token=True, add_eos_token=True)
    plain = AutoTokenizer.from_pretrained(folders["bpe"])("good film")["input_ids"]
    assert tokenizer("good film")["input_ids"] == [0, *plain, 0]


def test_limits_in_tokenizer_json_are_no_default(folders, tmp_path, texts):
    """As sentence encoders save it: truncation and padding on. A call that does not ask for them has none."""
    backend = Tokenizer.from_file(str(folders["uncased"] / "tokenizer.json"))
    backend.enable_truncation(8, direction="left")
    backend.enable_padding(direction="left", pad_id=0, pad_token="[PAD]", length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path, "config.json", {"model_type": "bert"})
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    ours, theirs = AutoTokenizer.from_pretrained(tmp_path), peer_of(tmp_path)
    assert (ours.padding_side, ours.truncation_side, ours.pad_token) == ("left", "left", "[PAD]")
    for kwargs in ({}, {"truncation": True, "max_length": 6}, {"padding": True}):
        assert ours(texts, **kwargs)["input_ids"] == theirs(texts, **kwargs)["input_ids"]
    kept = ours.save_pretrained(tmp_path / "again")
    assert Tokenizer.from_file(kept[0]).truncation["max_length"] == 8


def test_files_named_by_the_settings_are_not_followed(vocab, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, "secret.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nsecret\n")
    paths = {"vocab_file": str(elsewhere / "secret.txt"), "tokenizer_file": "../../secret.json", "auto_map": {"a": "b"}}
    write(vocab, "tokenizer_config.json", paths)
    tokenizer = AutoTokenizer.from_pretrained(vocab)
    assert "secret" not in tokenizer.get_vocab()
    assert not set(paths) & set(json.loads(tokenizer.to_files()["tokenizer_config.json"]))


def test_a_link_out_of_the_folder_is_refused(tmp_path, folders):
    (tmp_path / "tokenizer.json").symlink_to(folders["uncased"] / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        AutoTokenizer.from_pretrained(tmp_path)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        '{"version": "1.0", "model": {"type": "Nope", "vocab": {}}}',
        '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
        '{"version": "1.0", "added_tokens": [], "model": {"type": "Unigram", "vocab": [], "unk_id": 3}}',
    ],
)
def test_a_broken_tokenizer_json_is_named(tmp_path, content):
    write(tmp_path, "tokenizer.json", content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_panic_of_the_library_becomes_a_value_error(tmp_path, monkeypatch):
    panic = type("PanicException", (BaseException,), {})

    class Panicking:
        @staticmethod
        def from_buffer(data):
            raise panic("index out of bounds")

    monkeypatch.setattr("lt_trainer.tokenization.reading.Tokenizer", Panicking)
    write(tmp_path, "tokenizer.json", "{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json.*index out of bounds"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_an_interrupt_is_not_taken_for_a_panic(tmp_path, monkeypatch):
    class Interrupted:
        @staticmethod
        def from_buffer(data):
            raise KeyboardInterrupt

    monkeypatch.setattr("lt_trainer.tokenization.reading.Tokenizer", Interrupted)
    write(tmp_path, "tokenizer.json", "{}")
    with pytest.raises(KeyboardInterrupt):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000, "\x00"])
def test_broken_settings_are_named(vocab, content):
    write(vocab, "tokenizer_config.json", content)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json"):
        AutoTokenizer.from_pretrained(vocab)


def test_a_vocabulary_that_is_not_text_is_named(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: not a vocabulary"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad_token": 3}, "pad_token=3: expected a token"),
        ({"added_tokens_decoder": {"x": {"content": "a"}}}, "added_tokens_decoder"),
        ({"added_tokens_decoder": ["a"]}, "added_tokens_decoder"),
        ({"extra_special_tokens": 5}, "extra_special_tokens=5"),
        ({"model_max_length": 0}, "model_max_length=0: expected a positive number"),
        ({"padding_side": "up"}, "padding_side='up': expected 'right' or 'left'"),
    ],
)
def test_settings_that_cannot_be_are_named(vocab, settings, message):
    write(vocab, "tokenizer_config.json", settings)
    with pytest.raises(ValueError, match=message):
        AutoTokenizer.from_pretrained(vocab)


def test_a_folder_without_a_tokenizer_says_what_it_holds(tmp_path):
    write(tmp_path, "config.json", {"model_type": "gpt2"})
    write(tmp_path, "vocab.json", {})
    with pytest.raises(
        FileNotFoundError, match=r"type 'gpt2'.*no tokenizer.json.*config.json, vocab.json.*transformers"
    ):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        AutoTokenizer.from_pretrained(tmp_path / "nowhere")


def test_a_misspelt_option_names_the_nearest(vocab):
    with pytest.raises(TypeError, match=r"model_max_len=5: .*did you mean 'model_max_length'"):
        AutoTokenizer.from_pretrained(vocab, model_max_len=5)


def test_auto_tokenizer_is_not_made_directly():
    with pytest.raises(TypeError, match="from_pretrained"):
        AutoTokenizer()


def test_remote_code_is_said_to_have_no_effect(vocab, caplog):
    with caplog.at_level(logging.WARNING):
        AutoTokenizer.from_pretrained(vocab, trust_remote_code=True)
    assert "never run" in caplog.text


# --- from an object ---------------------------------------------------------------------------------------------------


def test_a_tokenizer_of_an_object_equals_transformers():
    transformers = pytest.importorskip("transformers")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    options = {"unk_token": "[UNK]", "pad_token": AddedToken("<p>", special=True), "model_max_length": 5}
    ours = PreTrainedTokenizerFast(tokenizer_object=words, **options)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **options)
    assert dict(ours(["good", "x"], padding=True)) == dict(theirs(["good", "x"], padding=True))
    assert ours.pad_token_id == theirs.pad_token_id == 2
    assert words.get_vocab_size() == 2, "the object that was given has changed"


def test_a_tokenizer_of_a_file(folders, texts):
    path = folders["uncased"] / "tokenizer.json"
    expected = AutoTokenizer.from_pretrained(folders["uncased"])(texts)["input_ids"]
    assert PreTrainedTokenizerFast(tokenizer_file=path, unk_token="[UNK]")(texts)["input_ids"] == expected
    with pytest.raises(ValueError, match="one of them"):
        PreTrainedTokenizerFast()
