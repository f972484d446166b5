from __future__ import annotations

import random
import string

import pytest

from lt_trainer import AutoTokenizer
from lt_trainer.data.words import align, pieces_of


@pytest.fixture
def tokenizer(tiny_bert):
    return AutoTokenizer.from_pretrained(tiny_bert())


def pieces(tokenizer, *sentences, max_length=64, stride=0, windows=False):
    rows = [sentence.split(" ") for sentence in sentences]
    return pieces_of(tokenizer, rows, max_length=max_length, stride=stride, windows=windows)


def test_a_word_is_answered_for_at_its_first_token(tokenizer):
    (piece,) = pieces(tokenizer, "the cat film")  # [CLS] the c ##a ##t film [SEP]
    assert piece.token_words == [None, 0, 1, 1, 1, 2, None]
    assert (piece.words, piece.positions) == ([0, 1, 2], [1, 2, 5])
    assert align(piece, [7, 8, 9]) == [-100, 7, 8, -100, -100, 9, -100]


def test_all_tokens_of_a_word_may_have_a_label(tokenizer):
    (piece,) = pieces(tokenizer, "the cat film")
    assert align(piece, [0, 1, 2], continuing=[0, 2, 2]) == [-100, 0, 1, 2, 2, 2, -100]


def test_words_of_nothing_have_a_place_too(tokenizer):
    (piece,) = pieces_of(tokenizer, [["the", " ", "film", "\u200b", ""]], max_length=64, stride=0, windows=False)
    assert piece.words == [0, 1, 2, 3, 4]
    assert [piece.columns["input_ids"][p] == tokenizer.unk_token_id for p in piece.positions] == [
        False,
        True,
        False,
        True,
        True,
    ]


def test_a_cut_sentence_lacks_its_last_words(tokenizer):
    (piece,) = pieces(tokenizer, "the film was good", max_length=4)
    assert (piece.words, piece.windows) == ([0, 1], 1)


def test_windows_share_tokens_and_answer_for_each_word_once(tokenizer):
    first, second = pieces(tokenizer, "the film was very good", max_length=6, stride=2, windows=True)
    assert [first.windows, second.windows] == [2, 2]
    assert first.words + second.words == [0, 1, 2, 3, 4]
    assert first.token_words == [None, 0, 1, 2, 3, None]
    assert second.token_words == [None, 2, 3, 4, None]


def test_a_sentence_of_no_words_has_a_row(tokenizer):
    (piece,) = pieces_of(tokenizer, [[]], max_length=8, stride=0, windows=False)
    assert (piece.words, align(piece, [])) == ([], [-100, -100])


@pytest.mark.parametrize("stride", [0, 1, 4])
def test_ten_thousand_sentences_come_back_with_their_labels(tokenizer, stride):
    chance = random.Random(stride)
    letters = string.ascii_letters + " \u200b\x07é"

    def word():
        return "".join(chance.choice(letters) for _ in range(chance.randrange(0, 9)))

    sentences = [[word() for _ in range(chance.randrange(0, 14))] for _ in range(10_000 if stride == 1 else 1000)]
    gold = [[chance.randrange(9) for _ in sentence] for sentence in sentences]
    back: list[list[tuple[int, int]]] = [[] for _ in sentences]
    several = 0
    for piece in pieces_of(tokenizer, sentences, max_length=24, stride=stride, windows=True):
        labels = align(piece, gold[piece.row])
        assert sum(label != -100 for label in labels) == len(piece.words)
        back[piece.row] += [(word, labels[place]) for word, place in zip(piece.words, piece.positions, strict=True)]
        several += piece.windows > 1
    assert [[label for _, label in row] for row in back] == gold
    assert all([word for word, _ in row] == list(range(len(row))) for row in back)
    assert several > len(sentences) // 4
