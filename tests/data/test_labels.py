from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from lt_trainer.data.labels import class_numbers, encode_targets, label_names_of, problem_type_of


def column(values, feature=None):
    features = None if feature is None else Features({"label": feature})
    return Dataset.from_dict({"label": values}, features=features)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 0], "single_label_classification"),
        (["a", "b"], "single_label_classification"),
        (["0", "1"], "single_label_classification"),
        ([0.0, 1.0, 2.5], "regression"),
        (["0.5", "-1"], "regression"),
        ([["a"], [], ["a", "b"]], "multi_label_classification"),
        ([[0], [1, 2]], "multi_label_classification"),
        ([None, None], "single_label_classification"),
    ],
)
def test_labels_say_what_they_ask_for(values, expected):
    assert problem_type_of([column(values)], "label") == expected


def test_without_labels_it_is_one_label():
    assert problem_type_of([column([1])], "other") == "single_label_classification"


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (column([["b", "a"], ["c"]]), ["a", "b", "c"]),
        (column([[0, 2], []]), ["LABEL_0", "LABEL_1", "LABEL_2"]),
        (column([[1, 0]], Sequence(ClassLabel(names=["O", "B-X"]))), ["O", "B-X"]),
    ],
)
def test_lists_of_labels_have_names_too(rows, names):
    assert label_names_of([rows], "label") == names


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["b", 0, "1"], "single_label_classification", [1, 0, 1]),
        ([["b"], [0, "b"], []], "multi_label_classification", [[0, 1], [1, 1], [0, 0]]),
        ([[0.2, 1.0]], "multi_label_classification", [[0.2, 1.0]]),
        ([1, "2.5", -0.5], "regression", [1.0, 2.5, -0.5]),
    ],
)
def test_targets_are_numbers(values, kind, expected):
    assert encode_targets(values, range(len(values)), "label", ["a", "b"], kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("c", "single_label_classification", "row 7 has label 'c' in column 'label': expected a number from 0 to 1"),
        (["c"], "multi_label_classification", "row 7 has label 'c' in column 'label'"),
        ("high", "regression", "row 7 has 'high' in column 'label': expected a number"),
        (None, "regression", "row 7 has None in column 'label': expected a number"),
    ],
)
def test_a_target_that_is_none_is_named_with_its_row(value, kind, message):
    with pytest.raises(ValueError, match=message):
        encode_targets([value], [7], "label", ["a", "b"], kind)


def test_numbers_of_a_row_s_labels_are_remembered():
    known: dict[str, int] = {}
    assert class_numbers(["O", "B-X", "O"], 0, "tags", {"O": 0, "B-X": 1}, known) == [0, 1, 0]
    assert known == {"O": 0, "B-X": 1}


def test_a_column_of_floats_that_are_whole_numbers_is_regression():
    assert problem_type_of([column([1.0, 2.0], Value("float32"))], "label") == "regression"
