"""Windows over contexts, and scores back to text: beside a naive reading of every pair of positions."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lt_trainer import AutoTokenizer
from lt_trainer.data.spans import Candidate, Question, candidates_of, context_windows


@pytest.fixture
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert())


CONTEXT = "the film was good and the actor was never dull"


def windows(tokenizer, max_length=12, stride=2):
    return list(context_windows(tokenizer, ["  was it good"], [CONTEXT], max_length=max_length, stride=stride))


def test_every_character_of_a_context_is_in_a_window(tokenizer):
    found = windows(tokenizer)
    assert len(found) == found[0].windows == 2
    covered = {place for w in found for s, e in zip(w.starts, w.ends, strict=True) for place in range(s, e)}
    assert covered == {place for place, letter in enumerate(CONTEXT) if letter != " "}
    assert all(len(w.columns["input_ids"]) <= 12 for w in found)
    assert found[1].starts[0] == found[0].starts[-2]  # two tokens are repeated


@pytest.mark.parametrize("answer", ["film", "good and the", "was never dull", "the film was good and the actor"])
def test_positions_lead_back_to_the_answer(tokenizer, answer):
    start = CONTEXT.index(answer)
    for window in windows(tokenizer):
        positions = window.positions(start, start + len(answer))
        inside = window.starts[0] <= start and start + len(answer) <= window.ends[-1]
        assert (positions is not None) == inside
        if positions is not None:
            first, last = (position - window.first for position in positions)
            assert CONTEXT[window.starts[first] : window.ends[last]] == answer


def test_a_part_of_a_token_is_found_by_the_token(tokenizer):
    (window,) = windows(tokenizer, max_length=40)
    first, last = window.positions(5, 7)  # "il" of "film"
    assert first == last == window.first + 1


# --- scores to text ---------------------------------------------------------------------------------------------------


def naive(start, end, window, n_best, max_tokens):
    """What the example script of `transformers` does for one window, pair by pair."""
    offsets = {
        window["first"] + i: (window["offsets"][2 * i], window["offsets"][2 * i + 1])
        for i in range(len(window["offsets"]) // 2)
    }
    found = []
    for s in np.argsort(start)[-1 : -n_best - 1 : -1].tolist():
        for e in np.argsort(end)[-1 : -n_best - 1 : -1].tolist():
            if s in offsets and e in offsets and s <= e < s + max_tokens:
                found.append((start[s] + end[e], window["text"][offsets[s][0] : offsets[e][1]]))
    return sorted(found, key=lambda pair: -pair[0])[:n_best]


@pytest.mark.parametrize(("n_best", "max_tokens"), [(1, 30), (5, 3), (20, 30), (50, 1)])
def test_candidates_are_those_of_the_example_script(n_best, max_tokens):
    rng = np.random.default_rng(0)
    for _ in range(50):
        count, first = int(rng.integers(0, 30)), int(rng.integers(1, 9))
        text = "".join(rng.choice(list("abc "), size=5 * count + 1))
        cuts = np.sort(rng.integers(0, len(text), size=2 * count))
        window = {"first": first, "text": text, "offsets": cuts.tolist()}
        start, end = rng.normal(size=(2, first + count + 3)).astype(np.float32)
        found = candidates_of(start, end, window, n_best, max_tokens)
        expected = naive(start, end, window, n_best, max_tokens)
        assert [c.text for c in found] == [text for _, text in expected]
        assert [c.score for c in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_ten_thousand_windows_take_less_than_ten_seconds():
    """Of contexts of 30,000 characters, as each window comes from a batch: with the text of its question."""
    rng = np.random.default_rng(0)
    text, starts = "abc " * 7500, np.arange(370) * 4
    start, end = rng.normal(size=(2, 384)).astype(np.float32)
    began = time.process_time()
    for number in range(10_000):
        shifted = starts + number % 80 * 360
        offsets = np.stack([shifted, shifted + 3], 1).flatten().tolist()
        window = {"first": 12, "text": text, "offsets": offsets}
        found = candidates_of(start, end, window, 20, 30)
        if number % 80 == 0:
            asked = question()
        asked.add(found, Candidate("", 0.0, 0.0))
        if number % 80 == 79:
            asked.answer(version_2=True)
    assert time.process_time() - began < 10


def question(*candidates, null=-9.0, n_best=20):
    found = Question(n_best)
    found.add([Candidate(text, score, 0.0) for text, score in candidates], Candidate("", null, 0.0))
    return found


def test_the_best_answer_of_all_windows_wins():
    found = question(("one", 1.0), ("two", 3.0))
    found.add([Candidate("three", 2.0, 2.0)], Candidate("", -10.0, 0.0))
    answer = found.answer(version_2=False)
    assert answer["answer"] == "three"
    assert [c["text"] for c in answer["n_best"]] == ["three", "two", "one"]
    expected = np.exp([4.0, 3.0, 1.0]) / np.exp([4.0, 3.0, 1.0]).sum()
    assert [c["probability"] for c in answer["n_best"]] == pytest.approx(expected)
    assert found.windows == 2


@pytest.mark.parametrize(
    ("null", "threshold", "expected"), [(1.0, 0.0, "yes"), (3.0, 0.0, ""), (3.0, 1.5, "yes"), (1.0, -1.5, "")]
)
def test_no_answer_is_one_where_it_beats_the_best_by_the_threshold(null, threshold, expected):
    found = question(("yes", 2.0), null=null).answer(version_2=True, threshold=threshold)
    assert found["answer"] == expected
    assert found["null_score_diff"] == null - 2.0
    assert {c["text"] for c in found["n_best"]} == {"yes", ""}


def test_the_score_of_no_answer_is_that_of_the_window_that_thinks_least_of_it():
    found = question(("yes", 2.0), null=5.0)
    found.add([], Candidate("", 1.0, 0.0))
    assert found.answer(version_2=True)["null_score_diff"] == -1.0


def test_no_answer_stays_among_few_best_ones():
    found = question(("a", 3.0), ("b", 2.0), null=1.0, n_best=1).answer(version_2=True)
    assert [c["text"] for c in found["n_best"]] == ["a", ""]


@pytest.mark.parametrize("version_2", [False, True])
def test_a_question_without_candidates_has_no_answer(version_2):
    assert question().answer(version_2=version_2)["answer"] == ""
