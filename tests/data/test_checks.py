"""Rows against the model: each refusal names the row, the value and what to do."""

from __future__ import annotations

import time

import pytest
import torch
from datasets import Dataset, IterableDataset

from lt_trainer.data.checks import Limits, check_batch, check_dataset

LIMITS = Limits(vocab_size=10, max_length=4, num_labels=2)


def check(rows, limits=LIMITS, needs_labels=True):
    check_dataset(rows, limits, name="train_dataset", needs_labels=needs_labels)


def dataset(ids=((1, 2), (3,)), labels=(0, 1), column="labels"):
    return Dataset.from_dict({"input_ids": [list(row) for row in ids], column: list(labels)})


def test_good_rows_pass():
    check(dataset())
    check(dataset(labels=(0, -100)))
    check([{"input_ids": [1], "labels": 0}])
    check(dataset().remove_columns("labels"), needs_labels=False)


@pytest.mark.parametrize("column", ["label", "labels", "label_ids"])
def test_a_label_out_of_range_is_named_with_its_row(column):
    with pytest.raises(ValueError, match=rf"row 1: '{column}' is 2, expected 0 to 1.*num_labels"):
        check(dataset(labels=(0, 2), column=column))
    with pytest.raises(ValueError, match=rf"row 0: '{column}' is -1, expected 0 to 1"):
        check(dataset(labels=(-1, 2), column=column))


def test_labels_of_tokens_are_scanned_too():
    rows = Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [[0, -100], [5]]})
    with pytest.raises(ValueError, match="row 1: 'labels' is 5"):
        check(rows)


def test_a_token_id_beyond_the_vocabulary_is_named():
    with pytest.raises(ValueError, match=r"row 1: 'input_ids' is 10, expected 0 to 9.*tokenizer"):
        check(dataset(ids=((1, 2), (3, 10))))


def test_a_row_longer_than_the_position_table_is_named():
    with pytest.raises(ValueError, match=r"row 0: 5 tokens, expected at most 4.*max_length=4"):
        check(dataset(ids=((1, 1, 1, 1, 1), (3,))))


def test_rows_selected_from_a_table_keep_their_own_numbers():
    rows = dataset(ids=[[1]] * 6, labels=[9, 0, 0, 0, 9, 0]).select([1, 2, 4])
    with pytest.raises(ValueError, match="row 2: 'labels' is 9"):
        check(rows)


def test_missing_labels_list_the_columns():
    with pytest.raises(ValueError, match=r"\['labels', 'label', 'label_ids'\].*\['answer', 'input_ids'\]"):
        check(dataset(column="answer"))


def test_text_that_was_never_tokenized_is_told_apart():
    with pytest.raises(ValueError, match=r"'input_ids', received \['label', 'text'\]: tokenize it first"):
        check(Dataset.from_dict({"text": ["a"], "label": [0]}), Limits(needs_ids=True))
    check(Dataset.from_dict({"pixels": [[1]], "label": [0]}), Limits())  # a model that says nothing of its input


def test_labels_of_a_list_of_rows_are_scanned():
    with pytest.raises(ValueError, match="train_dataset, row 1: 'label' is 2"):
        check([{"input_ids": [1], "label": 0}, {"input_ids": [1], "label": 2}])


def test_several_data_sets_or_a_file_name_are_refused_by_name():
    with pytest.raises(TypeError, match=r"several, \['a', 'b'\]"):
        check({"a": dataset(), "b": dataset()})
    with pytest.raises(TypeError, match="received str"):
        check("rows.csv")


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        check([])


def test_an_iterable_data_set_is_refused_by_name():
    with pytest.raises(TypeError, match="IterableDataset"):
        check(IterableDataset.from_generator(lambda: iter([{"input_ids": [1]}])))


def test_a_transform_of_the_users_is_not_run_over_the_whole_data_set():
    calls = []

    def transform(rows):
        calls.append(len(rows["labels"]))
        return rows

    check(dataset(ids=[[1]] * 50, labels=[0] * 50).with_transform(transform))
    assert sum(calls) <= 1


def test_two_hundred_thousand_rows_are_scanned_in_two_seconds():
    rows = dataset(ids=[[1, 2, 3]] * 200_000, labels=[1] * 200_000)
    start = time.process_time()
    check(rows)
    assert time.process_time() - start < 2


def test_batches_are_checked_with_the_numbers_of_their_rows():
    batch = {"input_ids": torch.tensor([[1, 2], [3, 11]]), "labels": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match="row 17: 'input_ids' is 11"):
        check_batch(batch, [4, 17], LIMITS)
    batch = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([0, 3])}
    with pytest.raises(ValueError, match="row 17: 'labels' is 3"):
        check_batch(batch, [4, 17], LIMITS)


def test_padding_does_not_count_as_length():
    batch = {"input_ids": torch.ones(1, 6, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]])}
    check_batch(batch, [0], LIMITS)
    batch["attention_mask"] = torch.ones(1, 6, dtype=torch.long)
    with pytest.raises(ValueError, match="6 tokens, expected at most 4"):
        check_batch(batch, [0], LIMITS)


def test_ignored_and_fractional_labels_pass():
    check_batch({"labels": torch.tensor([-100, 1])}, [0, 1], LIMITS)
    check_batch({"labels": torch.tensor([0.5, 7.0])}, [0, 1], LIMITS)
