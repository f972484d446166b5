from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from lt_trainer.baselines import BagOfWords, majority_accuracy
from lt_trainer.data.builtin import FIRST, KINDS, LABELS, SECOND, UNDECIDED, load_builtin, preferences


@pytest.fixture(scope="module")
def builtin():
    return load_builtin("text-classification")


def test_sizes_columns_and_class_names(builtin):
    assert {name: len(rows) for name, rows in builtin.items()} == {"train": 3500, "eval": 500}
    assert builtin["train"].column_names == ["text", "label"]
    assert builtin["eval"].features["label"].names == list(LABELS) == ["first", "second", "undecided"]


def test_it_is_the_same_on_every_machine(builtin):
    """The digest was written down once: another Python or machine must give it too."""
    content = "\n".join(f"{row['label']} {row['text']}" for split in ("train", "eval") for row in builtin[split])
    assert hashlib.sha256(content.encode()).hexdigest() == DIGEST


DIGEST = "8599aa9ac45813a1690587067f07c80b2c8d3fb9e40d8ee149ece2f3d20274b3"


def test_no_test_row_is_among_the_training_rows(builtin):
    assert not set(builtin["train"]["text"]) & set(builtin["eval"]["text"])
    assert len(set(builtin["train"]["text"])) == 3500


def test_no_class_is_much_commoner_than_the_others(builtin):
    for rows in builtin.values():
        shares = [count / len(rows) for count in Counter(rows["label"]).values()]
        assert max(shares) < 0.34


def test_texts_are_whole_sentences(builtin):
    for text in builtin["eval"]["text"]:
        assert text[0].isupper()
        assert text.endswith(".")
        assert "{" not in text
        assert "  " not in text


def test_two_things_of_one_kind_stand_in_every_text(builtin):
    for text in builtin["eval"]["text"]:
        assert any(sum(thing in text.lower() for thing in kind.things) == 2 for kind in KINDS), text


def test_known_remarks_have_the_label_that_a_reader_would_give(builtin):
    rows = dict(preferences(4000))
    by_hand = {
        "The new laptop is quieter than the old typewriter, whatever the weather.": FIRST,
        "It is not true that the blue tent is not as noisy as the hotel by the lake.": SECOND,
        "Some say that next to the canal walk, the forest trail is prettier, and they are right.": SECOND,
        "The old typewriter is no handier than the tablet.": UNDECIDED,
        "It is not true that I know the hotel by the lake, and the mountain hut has always been roomier.": FIRST,
    }
    assert {text: rows[text] for text in by_hand} == by_hand


def test_it_beats_neither_guessing_nor_a_bag_of_words_by_words_alone(builtin):
    train, test = builtin["train"], builtin["eval"]
    assert majority_accuracy(train["label"], test["label"])[1] < 0.35
    bag_of_words = BagOfWords(list(train["text"]), list(train["label"]), 3).accuracy(test["text"], test["label"])
    assert 0.5 < bag_of_words < 0.8


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task='translation': expected one of 'text-classification'"):
        load_builtin("translation")
