"""What is cached under which key, how often rows are tokenized, and what is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from datasets import Dataset

from lt_trainer import AutoTokenizer
from lt_trainer.data.tokenized import (
    Counts,
    content_of,
    count_cut,
    default_cache,
    key_of,
    lengths_of,
    padding_share,
    tokenize,
    tokens_alone,
)

ROWS = Dataset.from_dict({"text": ["a b", "c", "d e f"]})


class Splitter:
    """Words as numbers; counts its calls."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __call__(self, columns, numbers):
        self.numbers += numbers
        return {"input_ids": [[ord(word) for word in text.split()][:2] for text in columns["text"]]}, 1


def run(tmp_path, key="key", rows=ROWS, **options):
    encode = Splitter()
    made, counts = tokenize(rows, encode, key=key, cache_dir=tmp_path / "cache", **options)
    return made["input_ids"][:], counts, encode.numbers


def test_rows_are_tokenized_once(tmp_path):
    expected = [[97, 98], [99], [100, 101]]
    assert run(tmp_path) == (expected, Counts(3, 3, 1), [0, 1, 2])
    assert run(tmp_path) == (expected, Counts(3, 3, 1), [])


def test_another_key_or_overwriting_tokenizes_again(tmp_path):
    run(tmp_path)
    assert run(tmp_path, "other")[2] == [0, 1, 2]
    assert run(tmp_path, overwrite=True)[2] == [0, 1, 2]


def test_without_a_key_nothing_is_kept(tmp_path):
    assert run(tmp_path, None)[2] == [0, 1, 2]
    assert not (tmp_path / "cache").exists()


def test_what_a_killed_run_left_is_not_taken(tmp_path):
    run(tmp_path)
    (tmp_path / "cache/key/counts.json").unlink()
    assert run(tmp_path)[2] == [0, 1, 2]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert run(tmp_path)[2] == [0, 1, 2]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LT_TRAINER_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("LT_TRAINER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "lt_trainer/tokenized"


def test_two_processes_tokenize_once(tmp_path):
    code = (
        "import sys, time, pathlib\nfrom datasets import Dataset\nfrom lt_trainer.data.tokenized import tokenize\n"
        "def encode(columns, numbers):\n    print('tokenized', flush=True); time.sleep(1)\n"
        "    return {'input_ids': [[1] for _ in numbers]}, 0\n"
        "made, _ = tokenize(Dataset.from_dict({'text': ['a']}), encode, key='k', cache_dir=pathlib.Path(sys.argv[1]))\n"
        "print(made['input_ids'][:])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = "".join(process.communicate(timeout=120)[0] for process in both)
    assert said.count("tokenized") == 1
    assert said.count("[[1]]") == 2


# --- keys -------------------------------------------------------------------------------------------------------------


def test_content_is_values_and_not_where_they_lie(tmp_path):
    ROWS.save_to_disk(str(tmp_path / "rows"))
    again = Dataset.load_from_disk(str(tmp_path / "rows"))
    picked = Dataset.from_dict({"text": ["d e f", "x", "a b", "c"]}).select([2, 3, 0])
    assert content_of(ROWS) == content_of(again) == content_of(picked)


@pytest.mark.parametrize(
    "other",
    [
        {"text": ["a b", "c", "d e g"]},
        {"text": ["c", "a b", "d e f"]},
        {"texts": ROWS["text"][:]},
        {"text": ["a b", "c"]},
    ],
)
def test_other_values_order_or_names_are_other_content(other):
    assert content_of(Dataset.from_dict(other)) != content_of(ROWS)


def test_the_key_is_of_data_tokenizer_and_parameters(tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    key = key_of(ROWS, tokenizer, {"max_length": 8})
    assert key == key_of(ROWS, AutoTokenizer.from_pretrained(tiny_bert("again")), {"max_length": 8})
    assert key != key_of(ROWS, tokenizer, {"max_length": 9})
    assert key != key_of(ROWS.select([0]), tokenizer, {"max_length": 8})


def test_one_changed_token_of_a_tokenizer_invalidates(tiny_bert, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    tokenizer.save_pretrained(tmp_path / "saved")
    content = json.loads((tmp_path / "saved/tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["movies"] = vocabulary.pop("movie")
    (tmp_path / "saved/tokenizer.json").write_text(json.dumps(content))
    other = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert len(other) == len(tokenizer)
    assert key_of(ROWS, tokenizer) != key_of(ROWS, other)


def test_a_tokenizer_of_transformers_has_a_key(tiny_bert):
    transformers = pytest.importorskip("transformers")
    folder = str(tiny_bert())
    keys = {key_of(ROWS, transformers.AutoTokenizer.from_pretrained(folder)) for _ in range(2)}
    assert len(keys) == 1
    assert None not in keys


def test_a_tokenizer_whose_content_is_unknown_has_none():
    assert key_of(ROWS, object()) is None


# --- counts -----------------------------------------------------------------------------------------------------------


def test_rows_that_were_cut_are_counted(tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    assert count_cut(tokenizer(["a", "a film", "a good film"], truncation=True, max_length=4)) == 1


@pytest.mark.parametrize("pair", [(), (["day", "night falls", "b", ""],)])
def test_a_call_without_alignment_gives_the_same_tokens_and_cuts(tiny_bert, pair):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    texts = ["a", "a film", "a good film <s> é", ""]
    calls = [
        tokenizer(texts, *pair, truncation=True, max_length=5, return_special_tokens_mask=True, **options)
        for options in ({}, tokens_alone(tokenizer))
    ]
    assert dict(calls[0]) == dict(calls[1])
    assert count_cut(calls[0]) == count_cut(calls[1]) > 0
    assert (calls[0].is_fast, calls[1].is_fast) == (True, False)
    with pytest.raises(ValueError, match="return_alignment=False"):
        calls[1].word_ids(0)


def test_lengths_are_tokens():
    assert lengths_of(Dataset.from_dict({"input_ids": [[1, 2], [], [3]]})).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("batch_size", "order", "expected"),
    [
        (1, None, 0.0),
        (2, None, 1 - 10 / (4 + 8)),
        (4, None, 1 - 10 / 16),
        (2, [0, 3, 1, 2], 1 - 10 / (8 + 6)),
        (3, None, 1 - 10 / 13),
    ],
)
def test_the_share_of_padding_is_over_whole_batches(batch_size, order, expected):
    assert padding_share(np.array([1, 2, 3, 4]), batch_size, order) == pytest.approx(expected)
