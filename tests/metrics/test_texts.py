"""BLEU, chrF and ROUGE: hand-computed, then equal to their reference packages."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from lt_trainer.metrics.texts import BLEU, ChrF, Rouge, common_places, rouge, words

WORDS = ("a", "an", "the", "old", "red", "cat", "dog", "sat", "on", "mat", "3,000", "well-known", "Ü", "x.", "it's")
ODD = [
    ("", "a b"),
    ("a", ""),
    ("", ""),
    ("&quot;A&amp;B&quot; costs 3,000.50$ - isn't it?", '"A&B" costs 3,000.50 $ isn\'t it?'),
    ("one\n\ntwo three\nfour", "two three\none four"),
    ("日本語 テキスト。", "日本語 の テキスト"),
]


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts and the same with words lost, moved and broken into lines."""
    rng, found = random.Random(seed), []
    for _ in range(count):
        wanted = [rng.choice(WORDS) for _ in range(rng.randint(1, 14))]
        written = [word for word in wanted if rng.random() > 0.2] + [rng.choice(WORDS)]
        i = rng.randrange(len(written))
        written[0], written[i] = written[i], written[0]
        found.append(tuple(rng.choice((" ", " ", "\n")).join(text) for text in (written, wanted)))
    return [*found, *ODD]


def score(metric: Any, rows: list[tuple[str, str]], size: int = 7) -> Any:
    """In several updates, as an evaluation makes them."""
    for start in range(0, len(rows), size):
        written, wanted = zip(*rows[start : start + size], strict=True)
        metric.update(written, [[text] for text in wanted] if isinstance(metric, BLEU) else wanted)
    return metric.compute()


def test_equal_texts_have_all_points() -> None:
    rows = [("the cat sat on the mat", "the cat sat on the mat")]
    assert score(BLEU(), rows) == score(ChrF(), rows) == 100
    assert {name: float(value) for name, value in score(Rouge(), rows).items()} == dict.fromkeys(Rouge.kinds, 100.0)


def test_bleu_is_the_mean_of_precisions_and_orders_without_a_match_are_halved() -> None:
    # words 3 of 4, pairs 1 of 3, triples 0 of 2 -> half of one, fours 0 of 1 -> a quarter of one; no brevity penalty
    expected = 100 * (3 / 4 * 1 / 3 * (1 / 2 / 2) * (1 / 4)) ** (1 / 4)
    assert float(score(BLEU(), [("the cat sat mat", "the cat on mat")])) == pytest.approx(expected)


def test_a_short_text_is_penalised() -> None:
    assert float(score(BLEU(), [("a b c d", "a b c d e f")])) == pytest.approx(100 * math.exp(1 - 6 / 4))


def test_recall_of_characters_counts_twice() -> None:
    # one character of one is right, of two wanted: precision 1, recall 1/2, F2 = 5 * 1/2 / (4 + 1/2)
    assert float(score(ChrF(), [("a", "ab")])) == pytest.approx(100 * 2.5 / 4.5)


def test_rouge_by_hand() -> None:
    by_words, by_pairs, longest, in_lines = rouge("the cat the mat", "The mat, the cat!")
    assert (by_words, by_pairs, longest) == (1.0, pytest.approx(2 * 2 / 6), 0.5)
    assert in_lines == 0.5
    assert rouge("one two\nthree", "three\none two") == (1.0, pytest.approx(0.5), pytest.approx(2 / 3), 1.0)


def test_words_are_letters_and_digits_in_lower_case() -> None:
    assert words("It's 3,000 Äpfel") == ["it", "s", "3", "000", "pfel"]


def test_places_of_a_longest_common_subsequence() -> None:
    assert common_places(list("abcde"), list("xbdc")) in ([1, 2], [1, 3])
    assert common_places([], ["a"]) == []


@pytest.mark.parametrize("metric", [BLEU, ChrF, Rouge])
def test_nothing_in_common_is_0_and_no_rows_too(metric: type[Any]) -> None:
    for rows in ([], [("a b c d", "x y z w")]):
        empty = metric()
        empty.update([], [])
        found = score(empty, rows)
        values = found.values() if isinstance(found, dict) else [found]
        assert all(float(value) == 0 for value in values)


@pytest.mark.parametrize("metric", [ChrF, Rouge])
def test_the_states_of_two_processes_add_up(metric: type[Any]) -> None:
    rows = pairs(10)
    whole, one, other = metric(), metric(), metric()
    expected = score(whole, rows)
    score(one, rows[:4])
    score(other, rows[4:])
    for name in one._reductions:
        setattr(one, name, getattr(one, name) + getattr(other, name))
    one._computed = None
    torch.testing.assert_close(one.compute(), expected)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_bleu_and_chrf_equal_sacrebleu(count: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    rows = pairs(count, seed=count)
    for chosen in (rows, *([row] for row in rows)):
        written, wanted = (list(texts) for texts in zip(*chosen, strict=True))
        assert float(score(BLEU(), chosen)) == pytest.approx(sacrebleu.corpus_bleu(written, [wanted]).score, abs=1e-4)
        assert float(score(ChrF(), chosen)) == pytest.approx(sacrebleu.corpus_chrf(written, [wanted]).score, abs=1e-4)


def test_rouge_equals_rouge_score() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(list(Rouge.kinds))
    for written, wanted in pairs(60):
        expected = scorer.score(wanted, written)
        assert rouge(written, wanted) == pytest.approx([expected[kind].fmeasure for kind in Rouge.kinds], abs=1e-12)
