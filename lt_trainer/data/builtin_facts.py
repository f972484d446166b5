"""Built-in sentences with entities and short reports with questions, written for this project."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lt_trainer.data.draws import pick

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import DatasetDict

NUM_TRAIN_ROWS, NUM_EVAL_ROWS = 1200, 200


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


FIRST_NAMES = _listed(
    "Mara, Jonas, Ines, Tomas, Lena, Pavel, Rosa, Emil, Nadia, Oskar, Clara, Bruno, Judith, Marek, Alma"
)
LAST_NAMES = _listed(
    "Lindholm, Berger, Castell, Novak, Ferrer, Ashdown, Moreau, Keller, Santos, Brandt, Okafor, Hansen"
)
PLACES = _listed(
    "Ostby, Grenmouth, Saint Alban, Lower Harrow, Kestrel Bay, Vellin, Port Amery, Dunmarrow, Old Tarn, Silbergen, "
    "North Quay, Marisburg"
)
COMPANIES = _listed(
    "Halvard Mills, Norrin Foods, Blue Anchor Lines, the Tarn Gazette, Amery Glass, Castle Street Bank, Fenwick Tools, "
    "Orchard Radio, Silver Birch Press"
)
THINGS = _listed(
    "a bridge, a lighthouse, a bakery, a school, a theatre, a chapel, a library, a mill, a garden, a workshop"
)
TIMES = _listed(
    "in April, last winter, on Monday, in 1962, in 1987, two years ago, in early spring, on Friday, in 2004, last May"
)
REASONS = _listed(
    "because the old one had burnt down, because the rent had doubled, because nobody else would, "
    "because the town had asked for it, because the river had risen, because of a lost bet"
)

# "{P}" is a person, "{L}" a place, "{O}" an organisation; everything else is outside.
SENTENCES = (
    "{P} moved to {L} {t} .",
    "{P} works for {O} in {L} .",
    "{t} {O} opened {x} in {L} .",
    "The owner of {O} , {P} , was born in {L} .",
    "{P} and {P} met {t} at {O} .",
    "Nobody at {O} had heard of {L} .",
    "They built {x} {t} , and {P} paid for it .",
    "From {L} to {L} it takes an hour .",
    "{x} in {L} belongs to {P} .",
    "{O} bought {O} {t} .",
    "It rained for a week , and {x} stayed closed .",
    "Ask {P} about {x} , said {P} .",
)

REPORTS = (
    "{P} built {x} in {L} {t}, {r}. It was paid for by {O}.",
    "{t} there was news from {L}: {P} had opened {x}, {r}. The money came from {O}.",
    "With the help of {O}, {P} started {x} {t}. It stands in {L}, and it was begun {r}.",
)
QUESTIONS = {
    "P": ("Who did it?", "Who was behind it?", "Whose work is it?"),
    "L": ("Where was that?", "In which town was it?", "Where does it stand?"),
    "t": ("When was that?", "When did it happen?"),
    "x": ("What was made?", "What is new there?"),
    "r": ("Why was it done?", "For what reason?"),
    "O": ("Who paid?", "Which company helped?"),
}


def entity_rows() -> DatasetDict:
    """`words` and `tags` (IOB2, of PER, LOC and ORG): 1,200 sentences to train on, 200 others to evaluate."""
    return _splits(_sentence)


def question_rows() -> DatasetDict:
    """`id`, `context`, `question` and `answers` as SQuAD v1 has them: 1,200 rows to train on, 200 others."""
    return _splits(_question)


def _splits(make: Callable[[random.Random], dict[str, Any]]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    chance, seen = random.Random(0), set[str]()
    rows: list[dict[str, Any]] = []
    while len(rows) < NUM_TRAIN_ROWS + NUM_EVAL_ROWS:
        row = make(chance)
        if (text := str(row)) not in seen:
            seen.add(text)
            rows.append({"id": f"{len(rows)}", **row} if "context" in row else row)
    parts = {"train": rows[NUM_EVAL_ROWS:], "eval": rows[:NUM_EVAL_ROWS]}
    return DatasetDict({name: Dataset.from_list(part) for name, part in parts.items()})


def _sentence(chance: random.Random) -> dict[str, Any]:
    words: list[str] = []
    tags: list[str] = []
    for part in pick(chance, SENTENCES).split():
        kind = {"{P}": "PER", "{L}": "LOC", "{O}": "ORG"}.get(part)
        spelled = (_fill(chance, part[1]) if part[0] == "{" else part).split()
        words += spelled
        tags += ["O"] * len(spelled) if kind is None else [f"B-{kind}", *[f"I-{kind}"] * (len(spelled) - 1)]
    return {"words": words, "tags": tags}


def _question(chance: random.Random) -> dict[str, Any]:
    kinds = list(QUESTIONS)
    values = {kind: _fill(chance, kind) for kind in kinds}
    context = pick(chance, REPORTS)
    for kind, value in values.items():
        context = context.replace("{" + kind + "}", value)
    kind = pick(chance, kinds)
    answers = {"text": [values[kind]], "answer_start": [context.index(values[kind])]}
    return {"context": context, "question": pick(chance, QUESTIONS[kind]), "answers": answers}


def _fill(chance: random.Random, kind: str) -> str:
    if kind == "P":
        return f"{pick(chance, FIRST_NAMES)} {pick(chance, LAST_NAMES)}"
    return pick(chance, {"L": PLACES, "O": COMPANIES, "x": THINGS, "t": TIMES, "r": REASONS}[kind])
