"""Collators: the public names and behaviours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lt_trainer.data.collators import DefaultDataCollator, KeepColumns, default_data_collator


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
