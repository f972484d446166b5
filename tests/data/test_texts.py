"""Texts cut, packed and padded: tiny cases by hand, then many."""

from __future__ import annotations

import numpy as np
import pytest

from lt_trainer.data.texts import PackedTexts, TextsCollator, best_fit, cut, is_text_file, joined, sampled

LINES = ["one", "two", "", " ", "three", ""]


@pytest.mark.parametrize(
    ("sample_by", "texts"),
    [
        ("document", ["one\ntwo\n\n \nthree\n"]),
        ("paragraph", ["one\ntwo", "three"]),
        ("line", ["one", "two", "three"]),
    ],
)
def test_a_file_is_one_text_or_one_a_paragraph_or_one_a_line(sample_by, texts):
    assert sampled(LINES, sample_by) == texts


def test_pieces_lose_no_token():
    assert cut([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert cut([], 2) == []


def test_each_text_goes_where_it_leaves_the_least_room():
    assert best_fit([5, 3, 4, 2, 1], 6) == [[0, 4], [2, 3], [1]]


def test_blocks_hold_every_text_once_and_are_full():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.5, 0.8, size=5000).astype(int), 1, 1024)
    blocks = best_fit(lengths.tolist(), 1024)
    assert sorted(text for block in blocks for text in block) == list(range(5000))
    sizes = [sum(lengths[block]) for block in blocks]
    assert max(sizes) <= 1024
    assert sum(sizes) / (1024 * len(blocks)) >= 0.97


TEXTS = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}, {"input_ids": [6], "labels": [6]}]


def test_positions_begin_anew_and_no_text_is_the_target_of_another():
    assert joined(TEXTS[:2]) == {
        "input_ids": [1, 2, 3, 4, 5],
        "labels": [-100, 2, 3, -100, 5],
        "position_ids": [0, 1, 2, 0, 1],
    }


def test_labels_of_texts_are_kept():
    row = joined([{"input_ids": [1, 2, 3], "labels": [-100, -100, 3]}])
    assert row["labels"] == [-100, -100, 3]


def test_packed_rows_are_read_one_by_one_and_many_at_a_time():
    texts = [{"input_ids": [n] * n} for n in (4, 3, 2, 1)]
    packed = PackedTexts(texts, np.array([4, 3, 2, 1]), 5)
    assert len(packed) == 2
    assert packed.filled == 1.0
    assert [row["input_ids"] for row in packed.__getitems__([1, 0])] == [[3, 3, 3, 2, 2], [4, 4, 4, 4, 1]]
    assert packed[-1] == packed[1]
    with pytest.raises(IndexError):
        packed[2]


def test_rows_are_padded_without_a_pad_token():
    batch = TextsCollator(0)([joined(TEXTS[:2]), {"input_ids": [6], "labels": [6], "position_ids": [0]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0] * 5]
    assert batch["labels"].tolist() == [[-100, 2, 3, -100, 5], [6] + [-100] * 4]
    assert "position_ids" not in TextsCollator(0)([{"input_ids": [6]}])


def test_text_files_are_told_by_their_names(tmp_path):
    assert is_text_file("a.txt")
    assert is_text_file(tmp_path / "a.TXT")
    assert not is_text_file("a.csv")
    assert not is_text_file([{"text": "a"}])
