"""Every text of the shared data, as each task would encode it, against `transformers`."""

from __future__ import annotations

import json
import time

import pytest

from lt_trainer.tokenization import AutoTokenizer


@pytest.fixture
def pair(big_folders, kind):
    transformers = pytest.importorskip("transformers")
    ours = AutoTokenizer.from_pretrained(big_folders[kind], model_max_length=10_000)
    theirs = transformers.AutoTokenizer.from_pretrained(big_folders[kind], model_max_length=10_000)
    return ours, theirs


def assert_columns_equal(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        if ours[name] != theirs[name]:
            row = next(i for i, (mine, peer) in enumerate(zip(ours[name], theirs[name], strict=True)) if mine != peer)
            assert ours[name][row] == theirs[name][row], f"{name} of row {row}"


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def sentences_and_tags(path):
    sentence: list[str] = []
    for line in [*lines_of(path), ""]:
        if line.strip():
            sentence.append(line.split("\t")[0])
        elif sentence:
            yield sentence
            sentence = []


def test_sst2_sentences_cut_and_padded(pair, shared_data):
    ours, theirs = pair
    for part in ("train", "dev"):
        texts = [line.split("\t")[0] for line in lines_of(shared_data / "sst2" / f"{part}.tsv")]
        kwargs = {"padding": "max_length", "truncation": True, "max_length": 32, "return_special_tokens_mask": True}
        assert_columns_equal(ours(texts, **kwargs), theirs(texts, **kwargs))


def test_wnut17_words_with_their_word_ids(pair, shared_data):
    ours, theirs = pair
    for part in ("train", "dev"):
        rows = list(sentences_and_tags(shared_data / "wnut17" / f"{part}.conll"))
        if type(ours.backend_tokenizer.model).__name__ == "BPE":
            rows = [[" " + word for word in row] for row in rows]
        kwargs = {"is_split_into_words": True, "truncation": True, "max_length": 48}
        mine, peer = ours(rows, **kwargs), theirs(rows, **kwargs)
        assert_columns_equal(mine, peer)
        assert all(mine.word_ids(i) == peer.word_ids(i) for i in range(len(rows)))


def test_xquad_windows_with_offsets(pair, shared_data):
    ours, theirs = pair
    articles = json.loads((shared_data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    rows = [
        (question["question"].strip(), paragraph["context"])
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    questions, contexts = (list(column) for column in zip(*rows, strict=True))
    kwargs = {
        "truncation": "only_second",
        "max_length": 192,
        "stride": 64,
        "return_overflowing_tokens": True,
        "return_offsets_mapping": True,
        "padding": "max_length",
    }
    mine, peer = ours(questions, contexts, **kwargs), theirs(questions, contexts, **kwargs)
    assert_columns_equal(mine, peer)
    assert len(mine["input_ids"]) > len(rows), "no context was longer than the window: nothing was tested"
    windows = range(0, len(mine["input_ids"]), 7)  # a seventh: each call builds a list
    assert all(mine.sequence_ids(i) == peer.sequence_ids(i) for i in windows)


def test_multi30k_sentences_and_targets(pair, shared_data):
    ours, theirs = pair
    for part in ("train", "val"):
        english, german = (lines_of(shared_data / "multi30k" / f"{part}.{language}") for language in ("en", "de"))
        kwargs = {"text_target": german, "truncation": True, "max_length": 64}
        assert_columns_equal(ours(english, **kwargs), theirs(english, **kwargs))


def test_wikitext2_running_text(pair, shared_data):
    ours, theirs = pair
    for part in ("valid", "test"):
        texts = lines_of(shared_data / "wikitext2" / f"{part}.txt")
        mine = ours(texts)
        assert_columns_equal(mine, theirs(texts))
    sample = mine["input_ids"][:300]
    assert ours.batch_decode(sample) == theirs.batch_decode(sample)
    one_document = "\n".join(texts)[:50_000]
    assert ours(one_document, verbose=False)["input_ids"] == theirs(one_document, verbose=False)["input_ids"]


@pytest.mark.slow
def test_a_call_costs_little_more_than_the_library(pair, shared_data):
    """At least 0.8 of the bare `encode_batch`, lists included: the best of alternating rounds, in CPU time."""
    ours, _ = pair
    texts = [line.split("\t")[0] for line in lines_of(shared_data / "sst2" / "train.tsv")]
    bare, full = [], []
    for _ in range(9):
        start = time.thread_time()
        ours.backend_tokenizer.encode_batch(texts)
        middle = time.thread_time()
        ours(texts)
        bare.append(middle - start)
        full.append(time.thread_time() - middle)
    share = min(bare) / min(full)
    assert share >= 0.8, share
