"""Collators: the public names and behaviours."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import lt_trainer
from lt_trainer.data.collators import (
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    DefaultDataCollator,
    KeepColumns,
    default_data_collator,
    draws_nothing,
)


def test_label_becomes_labels_and_text_is_left_out():
    batch = default_data_collator([{"label": 1, "text": "a", "x": [1, 2]}, {"label": 0, "text": "b", "x": [3, 4]}])
    assert sorted(batch) == ["labels", "x"]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["labels"].dtype == torch.int64


def test_fractions_stay_float32():
    batch = default_data_collator([{"label": 0.5}, {"label": 1.5}])
    assert batch["labels"].dtype == torch.float32


def test_numpy_on_request():
    batch = DefaultDataCollator(return_tensors="np")([{"x": [1, 2]}])
    assert isinstance(batch["x"], np.ndarray)


def test_rows_of_different_lengths_name_the_collator_that_pads():
    with pytest.raises(ValueError, match=r"'x'.*lengths \[1, 2\].*DataCollatorWithPadding"):
        default_data_collator([{"x": [1]}, {"x": [1, 2]}])


def test_a_column_without_numbers_is_named():
    with pytest.raises(ValueError, match="'words': expected numbers"):
        default_data_collator([{"words": ["a", "b"]}, {"words": ["c", "d"]}])


def test_default_collator_equals_that_of_transformers():
    theirs = pytest.importorskip("transformers").default_data_collator
    rows = [
        {"label": 1, "input_ids": [1, 2], "x": np.ones(2), "y": torch.ones(3), "text": "t", "none": None},
        {"label": 0, "input_ids": [3, 4], "x": np.zeros(2), "y": torch.zeros(3), "text": "u", "none": None},
    ]
    ours, expected = default_data_collator(rows), theirs(rows)
    assert sorted(ours) == sorted(expected)
    for key in expected:
        torch.testing.assert_close(ours[key].float(), expected[key].float())


def test_columns_that_the_model_does_not_take_are_left_out():
    keep = KeepColumns(list, frozenset({"x"}), "Toy")
    assert keep([{"x": 1, "text": "a"}]) == [{"x": 1}]


def test_no_usable_column_names_both_sides():
    with pytest.raises(ValueError, match=r"\['text'\].*Toy.forward.*\['x'\]"):
        KeepColumns(list, frozenset({"x"}), "Toy")([{"text": "a"}])


# --- sequence to sequence ---------------------------------------------------------------------------------------------


class Padding:
    """Pads like a tokenizer, of which nothing else is used."""

    def __init__(self, side: str) -> None:
        self.padding_side = side

    def pad(self, rows, padding, max_length=None, pad_to_multiple_of=None, return_tensors="pt"):
        width = max_length if padding == "max_length" else max(len(row["input_ids"]) for row in rows)
        width = -(-width // (pad_to_multiple_of or 1)) * (pad_to_multiple_of or 1)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for target, row in zip(ids, rows, strict=True):
            start = width - len(row["input_ids"]) if self.padding_side == "left" else 0
            target[start : start + len(row["input_ids"])] = row["input_ids"]
        return {"input_ids": ids if return_tensors == "np" else torch.from_numpy(ids)}


PAIRS = [{"input_ids": [5, 6, 1], "labels": [7, 1]}, {"input_ids": [5, 1], "labels": [7, 8, 9, 1]}]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "options",
    [{}, {"pad_to_multiple_of": 3}, {"padding": "max_length", "max_length": 6}, {"label_pad_token_id": 0}],
    ids=["longest", "multiple", "max_length", "label pad"],
)
@pytest.mark.parametrize("kind", ["pt", "np"])
def test_the_collator_for_two_sides_equals_that_of_transformers(side: str, options, kind: str) -> None:
    theirs = pytest.importorskip("transformers").DataCollatorForSeq2Seq
    ours = DataCollatorForSeq2Seq(Padding(side), **options, return_tensors=kind)(PAIRS)
    expected = theirs(Padding(side), **options, return_tensors=kind)(PAIRS)
    assert sorted(ours) == sorted(expected)
    for name, values in expected.items():
        assert ours[name].tolist() == values.tolist()
        assert ours[name].dtype == values.dtype


def test_the_model_makes_the_input_of_its_decoder() -> None:
    class Model:
        def prepare_decoder_input_ids_from_labels(self, labels):
            return labels + 1

    batch = DataCollatorForSeq2Seq(Padding("right"), model=Model())(PAIRS)
    assert batch["labels"].tolist() == [[7, 1, -100, -100], [7, 8, 9, 1]]
    assert batch["decoder_input_ids"].tolist() == [[8, 2, -99, -99], [8, 9, 10, 2]]
    assert "decoder_input_ids" not in DataCollatorForSeq2Seq(Padding("right"), model=object())(PAIRS)


def test_rows_without_labels_are_the_source_alone() -> None:
    collate = DataCollatorForSeq2Seq(Padding("right"))
    assert sorted(collate([{"input_ids": [5]}, {"input_ids": [6]}])) == ["input_ids"]
    with pytest.raises(ValueError, match="received none in row 1 of 2"):
        collate([PAIRS[0], {"input_ids": [6], "labels": None}])


@pytest.mark.parametrize("options", [{"padding": False}, {"padding": "max_length", "max_length": 3}])
def test_labels_that_do_not_fit_name_their_lengths(options) -> None:
    with pytest.raises(ValueError, match=r"received lengths \[2, 4\]"):
        DataCollatorForSeq2Seq(Padding("right"), **options)(PAIRS)


# --- against `transformers`, on many rows -----------------------------------------------------------------------------


def drawn_rows(tokenizer, draw: random.Random, target: str):
    """Ragged rows with a target of a kind: a number a row, one a token, or a row of its own."""
    rows = []
    for _ in range(draw.randint(1, 5)):
        words = [draw.choice(["good", "film", "unseen", "never", "a"]) for _ in range(draw.randint(1, 9))]
        row = dict(tokenizer(" ".join(words)))
        length = len(row["input_ids"])
        row |= {
            "number": {"label": draw.randint(0, 3)},
            "share": {"label_ids": draw.random()},
            "tokens": {"labels": [draw.randint(0, 5) for _ in range(length)]},
            "row": {"labels": [draw.randint(0, 5) for _ in range(draw.randint(1, 6))]},
            "none": {},
        }[target]
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("DataCollatorWithPadding", "number"),
        ("DataCollatorWithPadding", "share"),
        ("DataCollatorWithPadding", "none"),
        ("DataCollatorForTokenClassification", "tokens"),
        ("DataCollatorForTokenClassification", "none"),
        ("DataCollatorForSeq2Seq", "row"),
    ],
)
def test_padding_collators_equal_those_of_transformers_on_many_rows(tiny_bert, kind, name, target):
    transformers = pytest.importorskip("transformers")
    folder, draw = str(tiny_bert()), random.Random(name + target)
    tokenizers = [library.AutoTokenizer.from_pretrained(folder) for library in (lt_trainer, transformers)]
    for case in range(24):
        options = [{}, {"pad_to_multiple_of": 8}, {"padding": "max_length", "max_length": 64}][case % 3]
        rows = drawn_rows(tokenizers[0], draw, target)
        results = []
        for library, tokenizer in zip((lt_trainer, transformers), tokenizers, strict=True):
            tokenizer.padding_side = ["right", "left"][case % 2]
            results.append(getattr(library, name)(tokenizer, return_tensors=kind, **options)(rows))
        ours, theirs = results
        assert sorted(ours) == sorted(theirs)
        for column, values in theirs.items():
            assert ours[column].dtype == values.dtype, column
            assert ours[column].tolist() == values.tolist(), column


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("as_object", [False, True])
def test_the_default_collator_equals_that_of_transformers_on_many_rows(kind, as_object):
    transformers, draw = pytest.importorskip("transformers"), random.Random(0)
    values = {
        "label": [lambda: draw.randint(0, 3), lambda: draw.random(), lambda: torch.tensor(draw.randint(0, 3))],
        "label_ids": [lambda: [draw.randint(0, 3), 1], lambda: [draw.random(), 0.5]],
        "ids": [lambda: [draw.randint(0, 9), 4], lambda: np.array([draw.randint(0, 9), 2])],
        "share": [lambda: draw.random(), lambda: np.float32(draw.random()), lambda: np.array([draw.random()])],
        "flag": [lambda: draw.random() < 0.5],
        "small": [lambda: np.array([draw.randint(0, 9)], dtype=np.int32), lambda: np.int8(3)],
        "text": [lambda: "words"],
        "none": [lambda: None],
    }
    for case in range(60):
        chosen = {name: makers[case % len(makers)] for name, makers in values.items() if draw.random() < 0.7}
        if "label" in chosen:
            chosen.pop("label_ids", None)
        if kind == "np" and case % 3 == 2:  # a tensor is no label of an array
            chosen.pop("label", None)
        rows = [{name: make() for name, make in chosen.items()} for _ in range(draw.randint(1, 4))]
        if not any(name not in ("text", "none") for name in chosen):
            continue
        results = [
            (library.DefaultDataCollator() if as_object else library.default_data_collator)(rows, return_tensors=kind)
            for library in (lt_trainer, transformers)
        ]
        ours, theirs = results
        assert sorted(ours) == sorted(theirs)
        for column, expected in theirs.items():
            assert type(ours[column]) is type(expected)
            assert ours[column].dtype == expected.dtype, (column, rows[0][column if column in rows[0] else "label"])
            assert ours[column].tolist() == expected.tolist(), column


def test_what_surely_draws_nothing_is_known():
    from datasets import Dataset

    class Augments(DataCollatorWithPadding):
        """May draw."""

    rows = Dataset.from_dict({"labels": [1, 2]})
    assert draws_nothing(rows, default_data_collator)
    assert draws_nothing([{"labels": 1}], KeepColumns(DataCollatorWithPadding(None), frozenset({"labels"}), "Model"))
    assert not draws_nothing(rows.with_transform(lambda batch: batch), default_data_collator)
    assert not draws_nothing(rows, Augments(None))
    assert not draws_nothing(range(3), default_data_collator)
