from __future__ import annotations

import logging
import math
import warnings

import numpy as np
import pytest

EVERYTHING = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_length": True,
    "return_token_type_ids": True,
    "return_attention_mask": True,
}


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        assert ours[name] == theirs[name], name
    assert len(ours.encodings) == len(theirs.encodings)
    for row in range(len(ours.encodings)):
        assert ours.tokens(row) == theirs.tokens(row)
        assert ours.word_ids(row) == theirs.word_ids(row)
        assert ours.sequence_ids(row) == theirs.sequence_ids(row)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_ids_of_words_by_hand(words_only):
    batch = words_only(["Good film.", "playing badly"])
    assert batch["input_ids"] == [[2, 5, 7, 10, 3], [2, 8, 9, 1, 3]]
    assert batch["token_type_ids"] == [[0] * 5, [0] * 5]
    assert batch["attention_mask"] == [[1] * 5, [1] * 5]
    assert list(batch) == ["input_ids", "token_type_ids", "attention_mask"]


def test_a_pair_by_hand(words_only):
    row = words_only("good film", "bad", padding="max_length")
    assert row["input_ids"] == [2, 5, 7, 3, 6, 3, 0, 0]
    assert row["token_type_ids"] == [0, 0, 0, 0, 1, 1, 0, 0]
    assert row["attention_mask"] == [1, 1, 1, 1, 1, 1, 0, 0]
    assert row.sequence_ids() == [None, 0, 0, None, 1, None, None, None]


def test_truncation_alone_takes_the_models_maximum(words_only):
    assert words_only("good " * 20, truncation=True)["input_ids"] == [2, *[5] * 6, 3]


def test_max_length_alone_truncates(words_only):
    assert words_only("good film bad", max_length=4)["input_ids"] == [2, 5, 7, 3]


def test_overflow_by_hand(words_only):
    batch = words_only("good bad film play", max_length=5, stride=1, truncation=True, return_overflowing_tokens=True)
    assert batch["input_ids"] == [[2, 5, 6, 7, 3], [2, 7, 8, 3]]
    assert batch["overflow_to_sample_mapping"] == [0, 0]


def test_left_padding_by_hand(words_only):
    batch = words_only(["good", "good film"], padding=True, padding_side="left")
    assert batch["input_ids"] == [[0, 2, 5, 3], [2, 5, 7, 3]]
    assert batch["attention_mask"] == [[0, 1, 1, 1], [1, 1, 1, 1]]


def test_targets_become_labels(words_only):
    batch = words_only(["good"], text_target=["bad film"], max_length=5, max_target_length=3, truncation=True)
    assert batch["input_ids"] == [[2, 5, 3]]
    assert batch["labels"] == [[2, 6, 3]]
    assert words_only(text_target="bad")["input_ids"] == [2, 6, 3]


def test_targets_in_the_manner_of_former_releases(words_only):
    with (
        pytest.warns(DeprecationWarning, match="text_target= now") as caught,
        words_only.as_target_tokenizer() as tokenizer,
    ):
        assert tokenizer(["bad film"])["input_ids"] == words_only(text_target=["bad film"])["input_ids"]
    assert caught[0].filename == __file__


def test_words_know_their_tokens(words_only):
    batch = words_only(["playing", "film"], is_split_into_words=True)
    assert batch.word_ids() == [None, 0, 0, 1, None]
    assert batch.word_to_tokens(0) == (1, 3)
    assert batch.token_to_word(2) == 0


def test_an_empty_batch_gives_empty_columns(words_only):
    assert dict(words_only([])) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}


def test_rows_may_stand_in_arrays_and_tuples(words_only):
    expected = words_only(["good", "bad"])["input_ids"]
    assert words_only(("good", "bad"))["input_ids"] == expected
    assert words_only(np.array(["good", "bad"], dtype=object))["input_ids"] == expected


def test_rows_may_stand_in_a_dataset_column(words_only):
    from datasets import Dataset

    column = Dataset.from_dict({"text": ["good", "bad"]})["text"]
    assert words_only(column)["input_ids"] == [[2, 5, 3], [2, 6, 3]]


# --- against transformers ---------------------------------------------------------------------------------------------

CALLS = {
    "plain": {},
    "no special tokens": {"add_special_tokens": False},
    "longest": {"padding": True},
    "left": {"padding": True, "padding_side": "left"},
    "maximum": {"padding": "max_length", "truncation": True},
    "short maximum": {"padding": "max_length", "truncation": True, "max_length": 9},
    "multiple": {"padding": True, "pad_to_multiple_of": 8},
    "overflow": {"truncation": True, "max_length": 8, "stride": 2, "return_overflowing_tokens": True},
    "padded overflow": {
        "truncation": True,
        "max_length": 8,
        "stride": 3,
        "return_overflowing_tokens": True,
        "padding": "max_length",
    },
    "split special tokens": {"split_special_tokens": True},
}


@pytest.mark.parametrize("call", CALLS)
def test_texts_equal_transformers(ours, theirs, texts, call):
    rows = [*texts, "", "[MASK] <|endoftext|> </s>", "  spaces\t and\nlines "]
    assert_same(ours(rows, **CALLS[call], **EVERYTHING), theirs(rows, **CALLS[call], **EVERYTHING))


@pytest.mark.parametrize("call", CALLS)
def test_one_text_equals_transformers(ours, theirs, texts, call):
    assert_same(ours(texts[1], **CALLS[call], **EVERYTHING), theirs(texts[1], **CALLS[call], **EVERYTHING))


@pytest.mark.parametrize("truncation", [True, "only_second", "longest_first", False])
def test_pairs_equal_transformers(ours, theirs, texts, truncation):
    first, second = ["why?", "a film", "x"], texts[:3]
    kwargs = {"truncation": truncation, "max_length": 24 if truncation else None, "padding": True, **EVERYTHING}
    assert_same(ours(first, second, **kwargs), theirs(first, second, **kwargs))
    kwargs |= {"return_overflowing_tokens": True, "stride": 4}
    assert_same(ours(first, second, **kwargs), theirs(first, second, **kwargs))


def test_split_words_equal_transformers(ours, theirs, texts):
    rows = [text.split() for text in texts] + [[], ["one"]]
    if type(ours.backend_tokenizer.model).__name__ == "BPE":
        rows = [[" " + word for word in row] for row in rows]
    kwargs = {"is_split_into_words": True, "padding": True, "truncation": True, "max_length": 12, **EVERYTHING}
    assert_same(ours(rows, **kwargs), theirs(rows, **kwargs))
    assert_same(ours(rows[0], is_split_into_words=True), theirs(rows[0], is_split_into_words=True))


@pytest.mark.parametrize("kind_of_tensor", ["pt", "np"])
def test_tensors_equal_transformers(ours, theirs, texts, kind_of_tensor):
    for rows in (texts, texts[0]):
        mine = ours(rows, padding=True, return_tensors=kind_of_tensor)
        peer = theirs(rows, padding=True, return_tensors=kind_of_tensor)
        assert list(mine) == list(peer)
        for name in mine:
            assert type(mine[name]) is type(peer[name])
            assert mine[name].dtype == peer[name].dtype
            assert mine[name].tolist() == peer[name].tolist()


def test_targets_equal_transformers(ours, theirs, texts):
    assert dict(ours(texts, text_target=texts[::-1])) == dict(theirs(texts, text_target=texts[::-1]))


def test_encode_and_tokenize_equal_transformers(ours, theirs, texts):
    for text in texts:
        assert ours.encode(text) == theirs.encode(text)
        assert ours.tokenize(text) == theirs.tokenize(text)
    short = {"max_length": 4, "truncation": True}
    assert ours.encode("a", "b", **short) == theirs.encode("a", "b", **short)


# --- warnings and errors ----------------------------------------------------------------------------------------------


def test_a_row_beyond_the_models_maximum_is_said_once(words_only, caplog):
    with caplog.at_level(logging.WARNING):
        words_only("good " * 20)
        words_only("good " * 20)
    assert len(caplog.records) == 1
    assert "22 tokens" in caplog.text
    assert "at most 8" in caplog.text


def test_verbose_off_says_nothing(words_only, caplog):
    with caplog.at_level(logging.WARNING):
        words_only("good " * 20, verbose=False)
    assert not caplog.records


def test_truncation_without_any_maximum_is_said(words_only, caplog):
    words_only.model_max_length = int(1e30)
    with caplog.at_level(logging.WARNING):
        assert len(words_only("good " * 20, truncation=True)["input_ids"]) == 22
    assert "max_length" in caplog.text


def test_a_maximum_that_has_no_effect_is_said(words_only):
    with pytest.warns(UserWarning, match="max_length=4 has no effect"):
        words_only(["good"], padding=True, truncation=False, max_length=4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["good", None], r"row 1 is not text: None \(NoneType\)"),
        (["good", math.nan], r"row 1 is not text: nan \(float\)"),
        (["good", "bad", 3], r"row 2 is not text: 3 \(int\)"),
        ([b"good"], r"row 0 is not text: b'good' \(bytes\)"),
        (["good", "\ud800"], r"row 1 is not valid Unicode"),
        ([["good", "bad", "film"]], r"row 0 is a list.*is_split_into_words=True"),
        (5, r"text=5 \(int\) is not text"),
        ({"text": "good"}, r"text=.*\(dict\) is not text"),
    ],
)
def test_a_row_that_is_not_text_is_named(words_only, rows, message):
    with pytest.raises(ValueError, match=message):
        words_only(rows)


def test_a_word_that_is_not_text_is_named(words_only):
    with pytest.raises(ValueError, match=r"row 1, word 1 is not text: None"):
        words_only([["good"], ["bad", None]], is_split_into_words=True)
    with pytest.raises(ValueError, match=r"row 1 is not a list of words: 'bad'"):
        words_only([["good"], "bad"], is_split_into_words=True)


def test_a_second_text_that_is_not_text_is_named(words_only):
    with pytest.raises(ValueError, match=r"row 1 is not text: None"):
        words_only(["good", "bad"], ["film", None])
    with pytest.raises(ValueError, match=r"`text` has 2 rows and `text_pair` has 1"):
        words_only(["good", "bad"], ["film"])
    with pytest.raises(ValueError, match=r"text_pair='film' \(str\): expected a list of 2 rows"):
        words_only(["good", "bad"], "film")


def test_a_bad_target_is_called_a_target(words_only):
    with pytest.raises(ValueError, match="text_target: row 0 is not text: None"):
        words_only(["good"], text_target=[None])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"padding": "longst"}, "padding='longst'.*did you mean 'longest'"),
        ({"truncation": "first"}, "truncation='first': expected"),
        ({"max_length": 0}, "max_length=0: expected a positive number"),
        ({"max_length": 1, "truncation": True}, "max_length=1 is shorter than the 2 special tokens"),
        ({"max_length": 5, "truncation": True, "stride": 3}, "stride=3 with max_length=5: expected 0 to 2"),
        ({"max_length": 5, "truncation": "only_second"}, "only_second' needs a text_pair"),
        ({"padding": True, "padding_side": "middle"}, "padding_side='middle': expected 'right' or 'left'"),
        ({"return_tensors": "tf"}, "return_tensors='tf': expected one of 'pt', 'np'"),
        ({"padding": True, "truncation": True, "max_length": 6, "pad_to_multiple_of": 4}, "take 4 or 8"),
    ],
)
def test_arguments_that_cannot_be_are_refused(words_only, kwargs, message):
    with pytest.raises(ValueError, match=message):
        words_only("good bad film play", **kwargs)


def test_the_row_that_cannot_be_cut_is_named(words_only):
    with pytest.raises(ValueError, match=r"row 1 .*does not fit max_length=5"):
        words_only(["good", "good"], ["bad", "bad film play . bad"], truncation="only_first", max_length=5)


def test_padding_without_a_pad_token_says_what_to_do(words_only):
    words_only.pad_token = None
    with pytest.raises(ValueError, match=r"no pad token.*tokenizer\.pad_token = tokenizer\.eos_token"):
        words_only(["good"], padding=True)


def test_ragged_tensors_are_refused_by_column(words_only):
    with pytest.raises(ValueError, match=r"'input_ids' has lengths 3 to 4.*padding=True"):
        words_only(["good", "good film"], return_tensors="pt")


def test_an_error_leaves_no_limits_behind(words_only):
    with pytest.raises(ValueError):
        words_only([None], padding="max_length", truncation=True)
    assert words_only.backend_tokenizer.truncation is None
    assert words_only.backend_tokenizer.padding is None


def test_a_call_is_quiet(ours, texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(texts, padding=True, truncation=True, return_tensors="pt")
