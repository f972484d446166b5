from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

ROWS = [
    {"input_ids": [2, 5, 3], "token_type_ids": [0, 0, 0], "attention_mask": [1, 1, 1], "labels": 1},
    {"input_ids": [2, 5, 6, 7, 3], "token_type_ids": [0, 0, 0, 1, 1], "attention_mask": [1] * 5, "labels": 0},
]


def test_rows_are_padded_on_the_right_by_hand(words_only):
    batch = words_only.pad(ROWS, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 5, 3, 0, 0], [2, 5, 6, 7, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert batch["labels"].tolist() == [1, 0]
    assert {column.dtype for column in batch.values()} == {torch.int64}


def test_rows_are_padded_on_the_left_by_hand(words_only):
    words_only.padding_side = "left"
    batch = words_only.pad(ROWS, return_tensors="np", pad_to_multiple_of=4)
    assert batch["input_ids"].tolist() == [[0] * 5 + [2, 5, 3], [0] * 3 + [2, 5, 6, 7, 3]]
    assert batch["attention_mask"].tolist() == [[0] * 5 + [1] * 3, [0] * 3 + [1] * 5]


def test_a_hole_in_a_mask_is_kept(words_only):
    rows = [{"input_ids": [2, 5, 3], "attention_mask": [1, 0, 1]}, {"input_ids": [2, 3], "attention_mask": [1, 1]}]
    assert words_only.pad(rows, return_tensors="pt")["attention_mask"].tolist() == [[1, 0, 1], [1, 1, 0]]


def as_arrays(rows):
    return [{name: np.asarray(value) for name, value in row.items()} for row in rows]


def as_tensors(rows):
    return [{name: torch.as_tensor(value) for name, value in row.items()} for row in rows]


def as_columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


MASK = [
    {"input_ids": [2, 3], "special_tokens_mask": [1, 1]},
    {"input_ids": [2, 5, 3], "special_tokens_mask": [1, 0, 1]},
]


WAYS = (
    {"padding": True},
    {"padding": "max_length", "max_length": 7},
    {"padding": "max_length"},
    {"padding": "longest", "pad_to_multiple_of": 4},
)


@pytest.mark.parametrize("form", [list, as_arrays, as_tensors, as_columns])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_equals_transformers(ours, theirs, form, side):
    for rows, tensors, way in itertools.product((ROWS, MASK), ("pt", "np", None), WAYS):
        kwargs = {"padding_side": side, "return_tensors": tensors, **way}
        mine, peer = ours.pad(form(rows), **kwargs), theirs.pad(form(rows), **kwargs)
        assert list(mine) == list(peer)
        for name in mine:
            assert type(mine[name]) is type(peer[name]), (name, kwargs)
            assert as_list(mine[name]) == as_list(peer[name]), (name, kwargs)


def as_list(value):
    return value.tolist() if hasattr(value, "tolist") else value


def test_one_row_equals_transformers(ours, theirs):
    row = {"input_ids": [2, 5, 3], "attention_mask": [1, 1, 1]}
    kwargs = {"padding": "max_length", "max_length": 5}
    assert dict(ours.pad(row, **kwargs)) == dict(theirs.pad(row, **kwargs))
    assert dict(ours.pad(row)) == dict(theirs.pad(row))
    assert ours.pad(row, return_tensors="pt", **kwargs)["input_ids"].tolist() == [2, 5, 3, *[ours.pad_token_id] * 2]


def test_no_padding_leaves_rows_as_they_are(words_only):
    assert words_only.pad(ROWS, padding=False)["input_ids"] == [row["input_ids"] for row in ROWS]


def test_rows_of_a_data_set_in_numpy_format(words_only):
    from datasets import Dataset

    data = Dataset.from_list(ROWS).with_format("numpy")
    batch = words_only.pad([data[0], data[1]], return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 5, 3, 0, 0], [2, 5, 6, 7, 3]]


def test_square_masks_are_stacked(words_only):
    rows = [{"input_ids": [2, 3], "attention_mask": torch.ones(1, 2, 2)} for _ in range(2)]
    assert words_only.pad(rows, return_tensors="pt")["attention_mask"].shape == (2, 1, 2, 2)


def test_padding_keeps_the_rows_it_was_given(words_only):
    row = {"input_ids": [2, 3], "attention_mask": [1, 1]}
    words_only.pad([row, ROWS[1]])
    assert row == {"input_ids": [2, 3], "attention_mask": [1, 1]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "good"}], "no 'input_ids' to pad by; their columns: text"),
        ([], "no rows to pad"),
        (["good"], r"expected rows .* received \['good'\] \(list\)"),
        ([ROWS[0], {"input_ids": [2, 3]}], "row 1 has the columns input_ids; row 0 also has 'token_type_ids'"),
        (
            [{"input_ids": [2, 3], "attention_mask": [1]}, {"input_ids": [2], "attention_mask": [1]}],
            "row 0: 'attention_mask' has 1 entries, but the row has 2 tokens",
        ),
        ([{"input_ids": ["good", "film"]}], r"input_ids hold 'good' \(str\): expected integers"),
    ],
)
def test_rows_that_cannot_be_padded_are_named(words_only, rows, message):
    with pytest.raises(ValueError, match=message):
        words_only.pad(rows, return_tensors="pt")


def test_a_ragged_column_is_named(words_only):
    rows = [{"input_ids": [2, 3], "labels": [1]}, {"input_ids": [2, 3], "labels": [1, 2]}]
    with pytest.raises(ValueError, match=r"'labels' has lengths 1 to 2.*pad this column in the collator"):
        words_only.pad(rows, return_tensors="pt")
