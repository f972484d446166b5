"""Regular expressions whose time doubles with each character, told by their form."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 10_000

ESCAPE = re.compile(r"\\[pPxugkoN]\{[^}]*\}|\\k<[^>]*>|\\.", re.DOTALL)
OPEN = re.compile(r"\((?:\?(?:#[^)]*|[a-zA-Z-]+(?=[:)])|<[=!]|<\w+>|[=!>|~]|:)?:?)?")
REPEAT = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})[?+]?")


@dataclass
class Group:
    """What is inside a pair of parentheses.

    Attributes:
        varies: something in it is taken a number of times that is not fixed.
        alternates: it offers several ways.
    """

    varies: bool = False
    alternates: bool = False


def problem_of(pattern: str) -> str | None:
    """Why a pattern can take exponential time, or None.

    That is so where something repeated has a choice inside, as in `(a+)+` or `(a|aa)*`: a text of n letters can then be
    taken apart in 2**n ways, and all are tried before the pattern fails. Not every pattern of that form is slow, but
    those of the public families have none of it. Repeats of fixed text, as in `(?:[0-9]{3})*`, are no choice.

    Source: https://www.regular-expressions.info/catastrophic.html
    """
    if len(pattern) > MAX_CHARACTERS:
        return f"has {len(pattern)} characters: expected at most {MAX_CHARACTERS}"
    groups, last, place = [Group()], Group(), 0
    while place < len(pattern):
        start, place = place, _end_of_item(pattern, place)
        item = pattern[start:place]
        if item == "|":
            groups[-1].alternates = True
        elif item[0] == "(":
            groups.append(Group())
        elif item == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1].varies |= last.varies
            groups[-1].alternates |= last.alternates
        elif (bounds := _repeats(item)) is not None:
            if bounds[1] > 1 and (last.varies or last.alternates):
                return "repeats a choice, so that its time can double with each character of a text"
            groups[-1].varies |= bounds[0] != bounds[1]
            last = Group(varies=last.varies or bounds[0] != bounds[1], alternates=last.alternates)
        else:
            last = Group()
    return None


def _end_of_item(pattern: str, place: int) -> int:
    """Where the character, escape, class, repeat or parenthesis that begins at `place` ends."""
    kinds = {"\\": ESCAPE, "(": OPEN, "*": REPEAT, "+": REPEAT, "?": REPEAT, "{": REPEAT}
    if pattern[place] == "[":
        return _end_of_class(pattern, place)
    match = kinds[pattern[place]].match(pattern, place) if pattern[place] in kinds else None
    return match.end() if match is not None else place + 1


def _end_of_class(pattern: str, place: int) -> int:
    """Classes nest; a bracket that comes first is itself one of the characters."""
    depth = 0
    while place < len(pattern):
        if pattern[place] == "[":
            depth += 1
            place += 1 + pattern.startswith("^", place + 1)
            place += pattern.startswith("]", place)
        elif pattern[place] == "]":
            depth, place = depth - 1, place + 1
        else:
            place = _end_of_item(pattern, place) if pattern[place] == "\\" else place + 1
        if depth == 0:
            break
    return place


def _repeats(item: str) -> tuple[float, float] | None:
    """The least and the greatest number of times, or None for something that is no repeat."""
    match = REPEAT.fullmatch(item)
    if match is None:
        return None
    sign, low, comma, high = match.groups()
    if sign is not None:
        return (float(sign == "+"), 1.0 if sign == "?" else float("inf"))
    if not low and not high:
        return None  # braces of the text itself
    return float(low or 0), float(high or "inf") if comma else float(low or 0)
