"""Arrays of many batches: one array again, in memory or in a file that nobody sees."""

from __future__ import annotations

import tempfile
import warnings

import numpy as np
import pytest
import torch

from lt_trainer.arrays import Column, Columns, concatenate, to_numpy

BATCHES = [np.array([[1, 2], [3, 4]]), np.array([[5, 6, 7]]), np.array([[8], [9]])]
WHOLE = [[1, 2, -100], [3, 4, -100], [5, 6, 7], [8, -100, -100], [9, -100, -100]]


def columns_of(batches, **options):
    columns = Columns(**options)
    for batch in batches:
        columns.append(batch)
    return columns


def test_rows_of_different_lengths_are_filled_up_on_the_right():
    assert concatenate(BATCHES).tolist() == WHOLE


def test_every_dimension_after_the_first_is_filled_up():
    whole = concatenate([np.ones((1, 1, 2), int), np.ones((1, 2, 1), int)])
    assert whole.tolist() == [[[1, 1], [-100, -100]], [[1, -100], [1, -100]]]


def test_batches_with_other_dimensions_are_refused_with_their_shapes():
    with pytest.raises(ValueError, match=r"\(1, 2\), \(2,\)|\(2,\), \(1, 2\)"):
        concatenate([np.ones((1, 2)), np.ones(2)])


@pytest.mark.parametrize("in_memory", [0, 20, 40, 10**6])
def test_a_file_holds_what_memory_would(in_memory):
    column = Column(in_memory)
    for batch in BATCHES:
        column.append(batch)
    assert [column.batch(i).tolist() for i in range(3)] == [batch.tolist() for batch in BATCHES]
    assert column.whole().tolist() == WHOLE
    assert column.whole().dtype == BATCHES[0].dtype
    assert isinstance(column.whole(), np.memmap) == (in_memory < 8 * 8)


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_rows_are_put_in_order(in_memory):
    order = np.array([4, 0, 3, 1, 2])
    whole = columns_of(BATCHES, in_memory=in_memory).whole(order)
    assert whole.tolist() == [WHOLE[i] for i in order]


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_the_whole_can_be_written_to_and_outlives_its_column(in_memory):
    whole = columns_of(BATCHES, in_memory=in_memory).whole()
    whole[whole == -100] = 0
    assert whole.sum() == 45


def test_a_file_has_no_name_and_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns = columns_of(BATCHES, in_memory=0)
        whole = columns.whole()
        assert not list(tmp_path.iterdir())
        del columns
    assert whole.tolist() == WHOLE


def test_a_full_disk_says_what_to_do(monkeypatch):
    class Full:
        def __init__(self):
            self.closed = False

        def seek(self, *place):
            return 0

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            self.closed = True

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match=r"do not fit into .*No space left.*preprocess_logits_for_metrics.*TMPDIR"):
        columns_of(BATCHES, in_memory=0)


def test_nests_keep_their_structure():
    batch = (np.array([[1.0]]), {"a": np.array([2]), "b": (np.array([[3, 4]]), None)})
    logits, more = columns_of([batch, batch]).whole()
    assert logits.tolist() == [[1.0], [1.0]]
    assert more["a"].tolist() == [2, 2]
    assert more["b"][0].tolist() == [[3, 4], [3, 4]]
    assert more["b"][1] is None


def test_without_concatenation_there_is_a_list_with_each_batch():
    whole = columns_of([(batch, batch) for batch in BATCHES], concatenates=False).whole()
    assert [first.tolist() for first, _ in whole] == [batch.tolist() for batch in BATCHES]


def test_a_number_a_batch_counts_as_a_row():
    assert columns_of([np.float32(1.5), np.float32(2.5)]).whole().tolist() == [1.5, 2.5]


def test_nothing_kept_is_none():
    assert columns_of([None, None]).whole() is None
    assert Columns().batch(0) is None


def test_tensors_become_arrays_through_tuples_lists_and_dicts():
    found = to_numpy(([torch.ones(1)], {"a": torch.ones(1, dtype=torch.bfloat16)}, None))
    assert isinstance(found[0], tuple)
    assert found[1]["a"].dtype == np.float32
    assert found[2] is None


def test_what_is_no_tensor_is_refused_by_its_type():
    with pytest.raises(TypeError, match=r"received object: name that output in ignore_keys"):
        to_numpy((object(),))
