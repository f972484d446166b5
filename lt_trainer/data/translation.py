"""Built-in data for sequence to sequence: short English sentences and their German, written by the rules of both.

The words alone do not give the answer: an article follows the noun's gender and whether it is the subject or the
object, an adjective's ending the article before it, the verb the number of the subject, and its place whether the
sentence asks, or begins with an adverb.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from lt_trainer.data.draws import pick

if TYPE_CHECKING:
    from collections.abc import Sequence


class Noun(NamedTuple):
    """A thing in both languages; `gender` is of the German word: m, f or n."""

    one: str
    many: str
    gender: str
    eins: str
    viele: str


class Verb(NamedTuple):
    """What is done: the English word with and without its s, the German one in singular and plural."""

    plain: str
    third: str
    singular: str
    plural: str


def _table(rows: str) -> list[list[str]]:
    return [row.split() for row in rows.split(",")]


ACTORS = tuple(
    Noun(*row)
    for row in _table(
        "dog dogs m Hund Hunde, cat cats f Katze Katzen, child children n Kind Kinder, man men m Mann Männer, "
        "woman women f Frau Frauen, girl girls n Mädchen Mädchen, farmer farmers m Bauer Bauern, "
        "nurse nurses f Schwester Schwestern, horse horses n Pferd Pferde"
    )
)
THINGS = tuple(
    Noun(*row)
    for row in _table(
        "apple apples m Apfel Äpfel, lamp lamps f Lampe Lampen, book books n Buch Bücher, table tables m Tisch Tische, "
        "bottle bottles f Flasche Flaschen, house houses n Haus Häuser, letter letters m Brief Briefe, "
        "flower flowers f Blume Blumen, boat boats n Boot Boote, tree trees m Baum Bäume, "
        "street streets f Straße Straßen"
    )
)
VERBS = tuple(
    Verb(*row)
    for row in _table(
        "see sees sieht sehen, paint paints malt malen, find finds findet finden, need needs braucht brauchen, "
        "look_for looks_for sucht suchen, carry carries trägt tragen, love loves liebt lieben, "
        "bring brings bringt bringen"
    )
)
ADJECTIVES = tuple(
    (english, german)
    for english, german in _table(
        "old alt, small klein, red rot, new neu, heavy schwer, beautiful schön, white weiß, strange fremd, quiet still"
    )
)
ADVERBS = (("today", "heute"), ("often", "oft"), ("tomorrow", "morgen"), ("here", "hier"))
NUMBERS = (("two", "zwei"), ("three", "drei"), ("five", "fünf"))

# the German article and the ending of the adjective behind it, by gender: of the subject, of the object
THE = {
    "subject": {"m": ("der", "e"), "f": ("die", "e"), "n": ("das", "e")},
    "object": {"m": ("den", "en"), "f": ("die", "e"), "n": ("das", "e")},
}
A = {
    "subject": {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")},
    "object": {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")},
}


def sentences(num_rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """(English, German) pairs that all differ, the same on every machine and Python."""
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < num_rows:
        english, german = _sentence(rng)
        rows.setdefault(english, german)
    return list(rows.items())


def _sentence(rng: random.Random) -> tuple[str, str]:
    subject, subjekt, is_many = _phrase(rng, ACTORS, "subject")
    thing, ding, _ = _phrase(rng, THINGS, "object")
    verb = pick(rng, VERBS)
    plain, conjugated = verb.plain.replace("_", " "), (verb.plain if is_many else verb.third).replace("_", " ")
    finite, draw = verb.plural if is_many else verb.singular, rng.random()
    if draw < 0.2:
        return _end(f"{'do' if is_many else 'does'} {subject} {plain} {thing}", f"{finite} {subjekt} {ding}", "?")
    if draw < 0.4:
        helper = "do not" if is_many else "does not"
        return _end(f"{subject} {helper} {plain} {thing}", f"{subjekt} {finite} {ding} nicht", ".")
    if draw < 0.7:
        adverb, zeit = pick(rng, ADVERBS)
        return _end(f"{adverb} {subject} {conjugated} {thing}", f"{zeit} {finite} {subjekt} {ding}", ".")
    return _end(f"{subject} {conjugated} {thing}", f"{subjekt} {finite} {ding}", ".")


def _phrase(rng: random.Random, nouns: Sequence[Noun], role: str) -> tuple[str, str, bool]:
    """A noun with its article and sometimes an adjective in both languages, and whether there are several."""
    noun, draw = pick(rng, nouns), rng.random()
    adjective = pick(rng, ADJECTIVES) if rng.random() < 0.6 else None
    if draw < 0.4:
        article, (artikel, ending), is_many = "the", THE[role][noun.gender], False
    elif draw < 0.65:
        vowel = (adjective[0] if adjective else noun.one)[0] in "aeiou"
        article, (artikel, ending), is_many = "an" if vowel else "a", A[role][noun.gender], False
    elif draw < 0.8:
        article, artikel, ending, is_many = "the", "die", "en", True
    else:
        (article, artikel), ending, is_many = pick(rng, NUMBERS), "e", True
    english, german = (noun.many, noun.viele) if is_many else (noun.one, noun.eins)
    if adjective is None:
        return f"{article} {english}", f"{artikel} {german}", is_many
    return f"{article} {adjective[0]} {english}", f"{artikel} {adjective[1]}{ending} {german}", is_many


def _end(english: str, german: str, mark: str) -> tuple[str, str]:
    return english[0].upper() + english[1:] + mark, german[0].upper() + german[1:] + mark
