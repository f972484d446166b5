from __future__ import annotations

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from lt_trainer.data.sources import read_source, read_splits

ROWS = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
NONE = dict.fromkeys(("train", "validation", "test"))


def test_a_data_set_is_taken_as_it_is():
    assert read_source(ROWS) is ROWS


def test_an_iterable_data_set_is_not_read_to_its_end():
    stream = IterableDataset.from_generator(lambda: iter([{"text": "a"}]))
    assert read_source(stream) is stream


@pytest.mark.parametrize(
    "source", [ROWS.to_list(), ROWS.to_dict(), DatasetDict(train=ROWS), {"training": ROWS.to_list()}]
)
def test_rows_columns_and_dicts_of_splits_become_data_sets(source):
    assert read_source(source, "train").to_dict() == ROWS.to_dict()


def test_a_file_is_read(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,0\nb,1\n")
    assert read_source(tmp_path / "rows.csv")["text"][:] == ["a", "b"]


def test_columns_of_a_file_are_checked(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,0\n,1\n")
    with pytest.raises(ValueError, match=r"rows.csv:3: expected text in column 'text', received ''"):
        read_splits({**NONE, "validation": tmp_path / "rows.csv"}, text_columns=["text"])
    (tmp_path / "rows.csv").write_text("text,label\na,0\nb,\n")
    with pytest.raises(ValueError, match=r"rows.csv:3: expected a label in column 'label', received nothing"):
        read_splits({**NONE, "train": tmp_path / "rows.csv"}, target_column="label")


@pytest.mark.parametrize("name", ["validation", "dev", "eval", "val"])
def test_public_names_of_splits_are_known(name):
    found = read_splits(NONE, DatasetDict({"train": ROWS, name: ROWS.select([0])}))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2, "validation": 1}


def test_a_split_that_is_given_wins():
    found = read_splits({**NONE, "train": ROWS.select([1])}, DatasetDict(train=ROWS, test=ROWS))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 1, "test": 2}


def test_a_folder_of_save_to_disk_is_read(tmp_path):
    DatasetDict(train=ROWS).save_to_disk(str(tmp_path / "saved"))
    assert read_splits(NONE, str(tmp_path / "saved"))["train"].to_dict() == ROWS.to_dict()
    ROWS.save_to_disk(str(tmp_path / "one"))
    assert read_splits(NONE, str(tmp_path / "one"))["train"].to_dict() == ROWS.to_dict()


def test_a_folder_of_files_is_read(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("text,label\na,0\n")
    assert set(read_splits(NONE, str(tmp_path))) == {"train", "test"}


def test_built_in_rows_are_those_of_the_task():
    found = read_splits(NONE, "builtin", task="text-classification")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 3500, "validation": 500}


def test_a_name_that_does_not_exist_says_what_else_there_is():
    with pytest.raises(FileNotFoundError, match=r"dataset='no/such': expected 'builtin', a folder, or a data set on"):
        read_splits(NONE, "no/such")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (7, TypeError, "train: expected a file, a datasets.Dataset or a list of rows, received int"),
        ({"test": ROWS}, ValueError, r"train: expected a split of that name, received \['test'\]"),
    ],
)
def test_anything_else_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        read_source(source, "train")


def test_splits_without_a_known_name_are_refused():
    with pytest.raises(ValueError, match=r"expected splits named train, validation or test, received \['fold'\]"):
        read_splits(NONE, DatasetDict(fold=ROWS))
    with pytest.raises(
        TypeError, match="dataset: expected a DatasetDict, a name on the hub or a folder, received Dataset"
    ):
        read_splits(NONE, ROWS)
    with pytest.raises(ValueError, match=r"dataset='rows.csv': expected all splits, received one file"):
        read_splits(NONE, "rows.csv")
