"""What is masked: hand-made draws first."""

from __future__ import annotations

import numpy as np
import pytest

from lt_trainer.data.masking import Masking, NumpyDraws, TorchDraws, word_starts

IDS = np.array([[2, 10, 11, 12, 13, 3]])
SPECIAL = np.array([[1, 0, 0, 0, 0, 1]], dtype=bool)


class Scripted:
    """Answers what was written down, where the probability is not zero."""

    def __init__(self, *answers: list[int], tokens: list[int] = ()) -> None:
        self.answers, self.words, self.shares = list(answers), tokens, []

    def chance(self, share):
        self.shares.append(share)
        return np.array([self.answers.pop(0)], dtype=bool) & (share > 0)

    def tokens(self, vocab_size, where):
        assert vocab_size == 50
        return np.array(self.words)


def masking(share=0.15, mask=0.8, other=0.1):
    return Masking(share, mask, other, mask_id=4, vocab_size=50)


def test_of_what_is_guessed_some_become_the_mask_some_another_token_and_some_stay():
    draws = Scripted([1, 1, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0], [0, 1, 1, 0, 1, 0], tokens=[33])
    inputs, labels = masking().apply(IDS, SPECIAL, draws)
    assert inputs.tolist() == [[2, 4, 33, 12, 13, 3]]
    assert labels.tolist() == [[-100, 10, 11, 12, -100, -100]]
    assert [share.max() for share in draws.shares] == pytest.approx([0.15, 0.8, 0.5])


def test_the_rows_themselves_stay_as_they_are():
    ids = IDS.copy()
    masking(1.0).apply(ids, SPECIAL, NumpyDraws())
    assert (ids == IDS).all()


def test_words_begin_behind_a_gap_or_a_special_token():
    offsets = np.array([[(0, 0), (0, 4), (4, 6), (7, 9), (9, 10), (0, 0)]])
    assert word_starts(offsets, SPECIAL).astype(int).tolist() == [[0, 1, 0, 1, 0, 0]]
    assert word_starts(offsets[0], SPECIAL[0]).astype(int).tolist() == [0, 1, 0, 1, 0, 0]
    adjoining = np.array([[(0, 0), (0, 4), (0, 0), (4, 6), (6, 9), (0, 0)]])
    inner = np.array([[1, 0, 1, 0, 0, 1]], dtype=bool)
    assert word_starts(adjoining, inner).astype(int).tolist() == [[0, 1, 0, 1, 0, 0]]


def test_a_word_is_guessed_whole_or_not_at_all():
    starts = np.array([[0, 1, 0, 1, 0, 0]], dtype=bool)
    draws = Scripted([1, 0, 1, 1, 0, 1], [1] * 6)
    inputs, labels = masking(mask=1.0, other=0.0).apply(IDS, SPECIAL, draws, starts)
    assert inputs.tolist() == [[2, 10, 11, 4, 4, 3]]
    assert labels.tolist() == [[-100, -100, -100, 12, 13, -100]]
    assert draws.shares[0].tolist() == [[0, 0.15, 0, 0.15, 0, 0]]


def test_shares_that_leave_nothing_unchanged_are_no_probability_above_one():
    assert 0.1 / (1 - 0.9) > 1  # in floating point
    inputs, labels = masking(1.0, 0.9, 0.1).apply(IDS, SPECIAL, NumpyDraws())
    assert (labels[~SPECIAL] == IDS[~SPECIAL]).all()
    assert (inputs[SPECIAL] == IDS[SPECIAL]).all()


@pytest.mark.parametrize("make", [NumpyDraws, TorchDraws])
def test_shares_are_kept_on_average(make):
    ids = np.full((200, 200), 7)
    inputs, labels = masking().apply(ids, np.zeros_like(ids, dtype=bool), make())
    guessed = labels != -100
    assert guessed.mean() == pytest.approx(0.15, abs=0.01)
    assert (inputs[guessed] == 4).mean() == pytest.approx(0.8 + 0.1 / 50, abs=0.02)
    assert (inputs[guessed] == 7).mean() == pytest.approx(0.1 + 0.1 / 50, abs=0.02)
    assert (inputs[~guessed] == 7).all()
