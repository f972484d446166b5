"""Collators: the public names and behaviours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lt_trainer.data.collators import DataCollatorForSeq2Seq, DefaultDataCollator, KeepColumns, default_data_collator


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
