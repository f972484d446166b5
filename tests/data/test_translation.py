"""The built-in sentences follow the rules of both languages."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from lt_trainer.data.builtin import load_builtin
from lt_trainer.data.translation import ACTORS, THINGS, sentences

DIGEST = "1618a9bb276040ac8fbf7e9181bfa0f864bc4ccee0adfcc3ff51f3c94953c6aa"


@pytest.fixture(scope="module")
def builtin() -> Any:
    return load_builtin("seq2seq")


def test_sizes_and_columns(builtin: Any) -> None:
    assert {name: len(rows) for name, rows in builtin.items()} == {"train": 3500, "eval": 500}
    assert builtin["train"].column_names == ["source", "target"]


def test_it_is_the_same_on_every_machine(builtin: Any) -> None:
    content = "\n".join(f"{row['source']}\t{row['target']}" for split in ("train", "eval") for row in builtin[split])
    assert hashlib.sha256(content.encode()).hexdigest() == DIGEST


def test_no_test_row_is_among_the_training_rows(builtin: Any) -> None:
    assert not set(builtin["train"]["source"]) & set(builtin["eval"]["source"])
    assert len(set(builtin["train"]["source"])) == 3500


def test_every_word_of_the_test_rows_is_learnt(builtin: Any) -> None:
    for column in ("source", "target"):
        words = [{word for text in builtin[split][column] for word in text.split()} for split in ("train", "eval")]
        assert words[1] <= words[0]


def test_articles_follow_gender_number_and_case() -> None:
    masculine = {noun.eins for noun in (*ACTORS, *THINGS) if noun.gender == "m"}
    seen = set()
    for english, german in sentences(2000):
        words = german.rstrip(".?").split()
        for article, after, next_but_one in zip(words, words[1:], [*words[2:], ""], strict=False):
            if article in ("den", "einen"):  # the object alone, before a masculine noun or its adjective
                noun = after if after[0].isupper() else next_but_one
                assert noun in masculine, (english, german)
                seen.add(article)
    assert seen == {"den", "einen"}


def test_questions_begin_with_the_verb_and_denials_end_with_not() -> None:
    for english, german in sentences(500):
        assert english.endswith("?") == german.endswith("?") == english.startswith(("Do ", "Does "))
        assert (" not " in english) == german.endswith("nicht.")
