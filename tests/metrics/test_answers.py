"""Against the rules of the official scripts, written out once more, and by hand."""

from __future__ import annotations

import collections
import random
import re
import string

import pytest

from lt_trainer.metrics.answers import AnswerScores, normalized, score_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, an' a Dog.", "cat dog"),
        ("An", ""),
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("«Ärger» — the", "«ärger» —"),
    ],
)
def test_answers_are_compared_without_articles_case_and_punctuation(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("predicted", "wanted", "version_2", "expected"),
    [
        ("the cat", ["Cat", "dog"], False, (1, 1)),
        ("black cat", ["cat"], False, (0, 2 / 3)),
        ("dog", ["cat"], False, (0, 0)),
        ("", [], True, (1, 1)),
        ("cat", [], True, (0, 0)),
        ("", ["cat"], True, (0, 0)),
        ("", ["the"], False, (1, 0)),
        ("", ["the"], True, (1, 1)),
    ],
)
def test_scores_by_hand(predicted, wanted, version_2, expected):
    assert score_answer(predicted, wanted, version_2=version_2) == pytest.approx(expected)


def official(predictions, answers, version_2):
    """The two scripts' rules, from their description."""

    def clean(text):
        text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(wanted, predicted):
        gold, pred = clean(wanted).split(), clean(predicted).split()
        same = sum((collections.Counter(gold) & collections.Counter(pred)).values())
        if version_2 and (len(gold) == 0 or len(pred) == 0):
            return int(gold == pred)
        if same == 0:
            return 0
        return 2 * (same / len(pred)) * (same / len(gold)) / (same / len(pred) + same / len(gold))

    exact = overlap = 0.0
    for predicted, wanted in zip(predictions, answers, strict=True):
        gold = [answer for answer in wanted if clean(answer)] or [""] if version_2 else wanted
        exact += max(int(clean(answer) == clean(predicted)) for answer in gold)
        overlap += max(f1(answer, predicted) for answer in gold)
    return {"exact_match": 100 * exact / len(answers), "f1": 100 * overlap / len(answers)}


@pytest.mark.parametrize("version_2", [False, True])
def test_a_thousand_questions_score_as_by_the_official_rules(version_2):
    chance = random.Random(0)
    words = ["the", "a", "cat", "Cat.", "dog", "an", "U.S.", "in", "1999", "—", "the-end", "'s"]

    def text(least):
        return " ".join(chance.choice(words) for _ in range(chance.randrange(least, 6)))

    answers = [[text(1) for _ in range(chance.randrange(0 if version_2 else 1, 4))] for _ in range(1000)]
    predictions = [chance.choice(row) if row and chance.random() < 0.4 else text(0) for row in answers]
    scores = AnswerScores(version_2=version_2)
    for row in zip(predictions, answers, strict=True):
        scores.add(*row)
    found = scores.compute()
    assert {name: found[name] for name in ("exact_match", "f1")} == official(predictions, answers, version_2)


def test_questions_without_an_answer_are_told_apart():
    scores = AnswerScores(version_2=True)
    for predicted, wanted in (("cat", ["cat"]), ("dog", ["cat"]), ("", []), ("cat", []), ("", [])):
        scores.add(predicted, wanted)
    assert scores.compute() == pytest.approx(
        {
            "exact_match": 60.0,
            "f1": 60.0,
            "HasAns_exact": 50.0,
            "HasAns_f1": 50.0,
            "NoAns_exact": 200 / 3,
            "NoAns_f1": 200 / 3,
        }
    )


def test_no_questions_are_zero():
    assert AnswerScores().compute() == {"exact_match": 0.0, "f1": 0.0}
