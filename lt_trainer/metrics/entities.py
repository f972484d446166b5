"""Entities in sequences of tags, and how many of them were found: equal to seqeval, counted as sentences come.

A tag is a letter, which says where in an entity a word stands, and the entity's type: "B-PER". By default any sequence
is read as CoNLL's script read it, whatever the scheme; with a scheme only entities that are written by its rules count.

Source: https://github.com/chakki-works/seqeval (both modes), https://aclanthology.org/W00-0726 (the default).
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Entity(NamedTuple):
    """Words `start` to `end` (exclusive) of a sentence."""

    type: str
    start: int
    end: int


class Scheme(NamedTuple):
    """The rules of a scheme as pairs of the letter before and the letter here.

    A pair holds for any types where nothing follows it, for equal types with "=", for different ones with "!"; "*" is
    any letter.

    Attributes:
        letters: that may stand in a tag.
        starts: where an entity may begin.
        inside: where it goes on.
        ends: where it may have ended with the word before.
    """

    letters: str
    starts: tuple[str, ...]
    inside: tuple[str, ...]
    ends: tuple[str, ...]


def _scheme(letters: str, starts: str, inside: str, ends: str) -> Scheme:
    return Scheme(letters, *(tuple(rules.split()) for rules in (starts, inside, ends)))


SCHEMES = {
    "IOB1": _scheme("IOB", "OI II! BI IB= BB=", "BI= II=", "II! IO IB BO BI! BB="),
    "IOB2": _scheme("IOB", "*B", "BI= II=", "IO II! IB BO BI! BB"),
    "IOE1": _scheme("IOE", "OI II! EI EE=", "II= IE=", "II! IO IE! EI= EE="),
    "IOE2": _scheme("IOE", "OI OE EI EE II! IE!", "IE= II=", "E*"),
    "IOBES": _scheme("IOBES", "*B *S", "BI= BE= II= IE=", "S* E*"),
    "BILOU": _scheme("BILOU", "*B *U", "BI= BL= II= IL=", "U* L*"),
}


@cache
def _holds(rules: tuple[str, ...], before: str, here: str, same: bool) -> bool:
    return any(
        rule[0] in ("*", before) and rule[1] in ("*", here) and rule[2:] in ("", "=" if same else "!") for rule in rules
    )


def entities_of(tags: Sequence[str], scheme: str | None = None) -> list[Entity]:
    """The entities of a sentence.

    Args:
        tags: of its words.
        scheme: one of SCHEMES; None: as CoNLL's script.

    Raises:
        ValueError: a tag whose letter the scheme does not have.
    """
    return _strict(tags, SCHEMES[scheme]) if scheme is not None else _lenient(tags)


def _lenient(tags: Sequence[str]) -> list[Entity]:
    found, start, before, type_before = [], 0, "O", "_"
    for place, tag in enumerate([*tags, "O"]):
        letter, kind = tag[:1] or "O", tag[1:].split("-", 1)[-1] or "_"
        other = kind != type_before
        if before in "ES" or (before in "BI" and letter in "BSO") or (before not in "O." and other):
            found.append(Entity(type_before, start, place))
        if letter in "BS" or (before in "ESO" and letter in "EI") or (letter not in "O." and other):
            start = place
        before, type_before = letter, kind
    return found


def _strict(tags: Sequence[str], scheme: Scheme) -> list[Entity]:
    read = [(tag[:1], tag[1:].strip("-") or "_") for tag in [*tags, "O"]]
    for tag, (letter, _) in zip(tags, read, strict=False):
        if letter not in scheme.letters or not letter:
            raise ValueError(f"tag {tag!r}: expected one that begins with {', '.join(scheme.letters)}: name its scheme")

    def holds(rules: tuple[str, ...], place: int) -> bool:
        before, here = read[place - 1] if place else ("O", "_"), read[place]
        return _holds(rules, before[0], here[0], before[1] == here[1])

    found, place = [], 0
    while place < len(read):
        end = place + 1
        if holds(scheme.starts, place):
            while end < len(read) and holds(scheme.inside, end):
                end += 1
            if end < len(read) and holds(scheme.ends, end):
                found.append(Entity(read[place][1], place, end))
        place = end
    return found


class EntityScores:
    """Counts entities of sentences; what it holds does not grow with them.

    Args:
        scheme: see `entities_of`.
    """

    def __init__(self, scheme: str | None = None) -> None:
        if scheme is not None and scheme not in SCHEMES:
            raise ValueError(f"scheme={scheme!r}: expected one of {', '.join(SCHEMES)}, or None for CoNLL's reading")
        self.scheme = scheme
        self.counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # type -> right, predicted, gold
        self.right_words = self.words = 0

    def add(self, predicted: Sequence[str], gold: Sequence[str]) -> None:
        """Takes in a sentence: a predicted and a gold tag for each of its words.

        Raises:
            ValueError: not as many of one as of the other.
        """
        if len(predicted) != len(gold):
            raise ValueError(
                f"expected a predicted tag for each of {len(gold)} words, received {len(predicted)}: align them first"
            )
        self.words += len(gold)
        self.right_words += sum(map(str.__eq__, predicted, gold))
        found, wanted = (set(entities_of(tags, self.scheme)) for tags in (predicted, gold))
        for column, entities in enumerate((found & wanted, found, wanted)):
            for entity in entities:
                self.counts[entity.type][column] += 1

    def state(self) -> tuple[dict[str, list[int]], int, int]:
        """What another process adds to its own by `merge`."""
        return dict(self.counts), self.right_words, self.words

    def merge(self, state: tuple[dict[str, list[int]], int, int]) -> None:
        """Adds what another process counted."""
        for kind, counts in state[0].items():
            self.counts[kind] = [a + b for a, b in zip(self.counts[kind], counts, strict=True)]
        self.right_words += state[1]
        self.words += state[2]

    def compute(self) -> dict[str, float]:
        """Over all entities `precision`, `recall` and `f1`, 0 to 1, and the `accuracy` over all words."""
        scores = _scores([sum(column) for column in zip(*self.counts.values(), strict=True)] or [0, 0, 0])
        return {**scores, "accuracy": self.right_words / self.words if self.words else 0.0}

    def by_type(self) -> dict[str, dict[str, float]]:
        """`precision`, `recall`, `f1` and `number` (of gold entities) of each type."""
        return {kind: {**_scores(n), "number": n[2]} for kind, n in sorted(self.counts.items())}


def _scores(counts: Iterable[int]) -> dict[str, float]:
    right, predicted, gold = counts
    precision = right / predicted if predicted else 0.0
    recall = right / gold if gold else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
