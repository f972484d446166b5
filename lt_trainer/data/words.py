"""Words to tokens and back: which token stands for which word, and which words a row has no room for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from lt_trainer.data.collators import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence


class Piece(NamedTuple):
    """The tokens of a sentence, or of one of its windows.

    Attributes:
        row: the sentence's number.
        columns: what the tokenizer returned for it.
        words: numbers of the words that are answered for here, each in exactly one window.
        positions: the first token of each of them.
        token_words: the word of each token, None for special tokens.
        windows: how many pieces the sentence has.
    """

    row: int
    columns: dict[str, list[int]]
    words: list[int]
    positions: list[int]
    token_words: list[int | None]
    windows: int


def pieces_of(
    tokenizer: Any, sentences: Sequence[Sequence[str]], *, max_length: int | None, stride: int, windows: bool
) -> list[Piece]:
    """Tokenizes sentences of words.

    A word of which the tokenizer makes nothing (white space, control characters) stands as the unknown token, so that
    every word has a place.

    Args:
        tokenizer: ours, or one of `transformers` with a Rust backend.
        sentences: words of each.
        max_length: tokens of a row; None: what the tokenizer says.
        stride: tokens that a window repeats of the one before.
        windows: True makes several rows of a sentence that is longer, False cuts it.
    """
    encoded = tokenizer(
        _spelled(tokenizer, sentences),
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        stride=stride if windows else 0,
        return_overflowing_tokens=windows,
    )
    rows = encoded.pop("overflow_to_sample_mapping", list(range(len(sentences))))
    names, counts = list(encoded), Counter(rows)
    pieces: list[Piece] = []
    for index, row in enumerate(rows):
        token_words = encoded.word_ids(index)
        firsts: dict[int, int] = {}
        for position, word in enumerate(token_words):
            if word is not None:
                firsts.setdefault(word, position)
        columns = {name: encoded[name][index] for name in names}
        pieces.append(Piece(row, columns, list(firsts), list(firsts.values()), token_words, counts[row]))
    return _each_word_once(pieces) if windows else pieces


def _spelled(tokenizer: Any, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    """Words, with the unknown token for those that the tokenizer makes nothing of."""
    unknown, words = tokenizer.unk_token, sorted({word for sentence in sentences for word in sentence})
    alone = tokenizer([[word] for word in words], is_split_into_words=True, add_special_tokens=False, verbose=False)
    known = {word for word, ids in zip(words, alone["input_ids"], strict=True) if ids}
    return [[word if word in known or unknown is None else unknown for word in sentence] for sentence in sentences]


def _each_word_once(pieces: list[Piece]) -> list[Piece]:
    """Gives a word that several windows hold to the one where it is farthest from the edges; the first of equals."""
    best: dict[tuple[int, int], tuple[int, int]] = {}  # (sentence, word) -> (room, window)
    for index, piece in enumerate(pieces):
        for word, position in zip(piece.words, piece.positions, strict=True):
            before = pieces[index - 1] if index and pieces[index - 1].row == piece.row else None
            is_cut_before = before is not None and word in before.words and word == piece.words[0]
            room = -1 if is_cut_before else min(position, len(piece.token_words) - 1 - position)
            if room > best.get((piece.row, word), (-2, 0))[0]:
                best[piece.row, word] = (room, index)
    kept = []
    for index, piece in enumerate(pieces):
        mine = [(w, p) for w, p in zip(piece.words, piece.positions, strict=True) if best[piece.row, w][1] == index]
        kept.append(piece._replace(words=[w for w, _ in mine], positions=[p for _, p in mine]))
    return kept


def align(piece: Piece, labels: Sequence[int], continuing: Sequence[int] | None = None) -> list[int]:
    """The label of each token; IGNORED_LABEL for special tokens and for what another window answers for.

    Args:
        piece: see Piece.
        labels: the class of each word of the sentence.
        continuing: class -> class of the tokens of a word after its first; None: they have no label.
    """
    own = dict(zip(piece.positions, piece.words, strict=True))
    found: list[int] = []
    for position, word in enumerate(piece.token_words):
        if position in own:
            found.append(labels[own[position]])
        elif continuing is not None and word is not None and word in piece.words:
            found.append(continuing[labels[word]])
        else:
            found.append(IGNORED_LABEL)
    return found
