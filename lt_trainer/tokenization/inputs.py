"""Texts as the caller gives them to rows as the Rust library takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Rows(NamedTuple):
    """Rows to encode, and whether the caller gave a batch or one text."""

    rows: list[Any]
    is_batch: bool


def make_rows(text: Any, text_pair: Any, is_split_into_words: bool, name: str = "text") -> Rows:
    """Pair texts up and tell a batch from one text. Rows are not looked at here: see `explain_bad_row`.

    Args:
        text: A text (a list of words), or a batch of them as a list, tuple, array, series or dataset column.
        text_pair: The same for the second texts, or None.
        is_split_into_words: Whether a text is a list of words.
        name: How messages call `text`.

    Raises:
        ValueError: If `text` is not text, or the two batches have different lengths.
    """
    text = _as_batch(text, name)
    is_batch = _is_batch(text, is_split_into_words)
    if not is_batch:
        if not is_split_into_words and not isinstance(text, str):
            raise ValueError(f"{name}={shown(text)}: expected a str, or a list of str: leave out what is no text")
        # an empty second text is no second text, as in `transformers`
        return Rows([(text, text_pair) if text_pair else text], False)
    if text_pair is None:
        return Rows(text, True)
    pair = _as_batch(text_pair, f"{name}_pair")
    if isinstance(pair, str) or not isinstance(pair, list):
        raise ValueError(
            f"{name}_pair={shown(pair)}: expected a list of {len(text)} rows, one for each of `{name}`: "
            f"repeat it, [pair] * {len(text)}"
        )
    if len(pair) != len(text):
        raise ValueError(
            f"`{name}` has {len(text)} rows and `{name}_pair` has {len(pair)}: expected as many: "
            "give each row a second text, '' where there is none"
        )
    return Rows(list(zip(text, pair, strict=True)), True)


def _as_batch(text: Any, name: str) -> Any:
    if isinstance(text, str | list):
        return text
    if isinstance(text, Mapping | bytes) or not (hasattr(text, "__len__") and hasattr(text, "__getitem__")):
        raise ValueError(
            f"{name}={shown(text)} is not text: expected a str, or a list of str: take the column of texts"
        )
    return list(text)  # tuples, arrays, series, columns of a data set


def _is_batch(text: Any, is_split_into_words: bool) -> bool:
    if isinstance(text, str):
        return False
    if not is_split_into_words:
        return True
    return bool(text) and not isinstance(text[0], str)


def find_bad_row(rows: list[Any], is_split_into_words: bool) -> str | None:
    """Describe the first row that is not text, or None. Only called after the Rust library has refused a batch."""
    for index, row in enumerate(rows):
        parts = row if isinstance(row, tuple) and len(row) == 2 else (row,)
        for part in parts:
            problem = _problem(part, is_split_into_words)
            if problem:
                return f"row {index}{problem}"
    return None


def _problem(part: Any, is_split_into_words: bool) -> str | None:
    if is_split_into_words:
        if not isinstance(part, list | tuple):
            return f" is not a list of words: {shown(part)}; leave is_split_into_words out for whole texts"
        for place, word in enumerate(part):
            if not isinstance(word, str):
                return f", word {place} is not text: {shown(word)}; expected a str (remove such words, or write '')"
        texts = part
    elif isinstance(part, list | tuple) and len(part) != 2:
        return f" is a list: {shown(part)}; pass is_split_into_words=True for lists of words"
    else:
        texts = part if isinstance(part, list | tuple) else [part]
    for text in texts:
        if not isinstance(text, str):
            return f" is not text: {shown(text)}; expected a str (remove such rows, or fill them with '')"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return f" is not valid Unicode: {shown(text)} ({error.reason} at character {error.start}); remove it"
    return None


def shown(value: Any) -> str:
    """A value and its type, short enough for a message."""
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
