from __future__ import annotations

import pytest

from lt_trainer.baselines import BagOfWords, majority_accuracy


def test_majority_is_that_of_the_training_rows():
    assert majority_accuracy([1, 1, 0], [0, 0, 1, 0]) == (1, 0.25)


def test_a_word_that_decides_is_found():
    texts = ["a good film", "a bad film", "good and long", "bad and long"] * 5
    model = BagOfWords(texts, [1, 0, 1, 0] * 5, 2)
    assert model.predict(["good", "bad", "so very good", "unheard"])[:3] == [1, 0, 1]
    assert model.accuracy(["a good plot", "a bad plot"], [1, 1]) == 0.5


def test_it_is_blind_to_the_order_of_words():
    model = BagOfWords(["tea over milk", "milk over tea"] * 10, [0, 1] * 10, 2)
    assert model.accuracy(["tea over milk", "milk over tea"], [0, 1]) == 0.5


def test_it_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from lt_trainer.data.builtin import preferences

    rows = preferences(900)
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    ours = BagOfWords(texts[:600], labels[:600], 3)
    ours._fit(texts[:600], labels[:600], 1e-3)
    counts = text.CountVectorizer(binary=True, token_pattern=r"\w+|[^\w\s]")
    # C is one over the penalty beside a sum over rows; ours stands beside a mean
    theirs = linear_model.LogisticRegression(C=1 / (1e-3 * 600), max_iter=500)
    theirs.fit(counts.fit_transform(texts[:600]), labels[:600])
    expected = theirs.predict(counts.transform(texts[600:])).tolist()
    agree = [a == b for a, b in zip(ours.predict(texts[600:]), expected, strict=True)]
    assert sum(agree) / len(agree) > 0.98
