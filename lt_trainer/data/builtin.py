"""Built-in data sets: text written for this project, so that a first run needs no download.

`text-classification` holds short remarks that compare two things; the label says which of the two the writer would
rather have: the one named first, the one named second, or neither. Nothing in the words themselves gives that away.
"The ferry is slower than the train" and "next to the ferry, the train is slow" share nearly all of them, and only who
is compared with whom, and what "never", "less" or "they are wrong" turn round, decides. A bag of words is close to
blind here, a model that reads words in their places is not: that is what the demo shows.
"""

from __future__ import annotations

import importlib
import random
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from lt_trainer.data.draws import pick

if TYPE_CHECKING:
    from datasets import DatasetDict

LABELS = ("first", "second", "undecided")
NUM_TRAIN_ROWS, NUM_EVAL_ROWS = 3500, 500
NUM_TRAIN_TEXTS, NUM_EVAL_TEXTS = 600, 60  # of language modelling
REMARKS = (1, 4, 2, 6, 3, 5)  # in a text, in turn
FIRST, SECOND, UNDECIDED = range(3)
GOOD, P_WRONG = 0.6, 0.12


class Kind(NamedTuple):
    """Things of one kind that people compare, and what speaks for or against one of them."""

    things: tuple[str, ...]
    good: tuple[tuple[str, str], ...]
    bad: tuple[tuple[str, str], ...]


def _kind(things: str, good: str, bad: str) -> Kind:
    def pairs(words: str) -> tuple[tuple[str, str], ...]:
        return tuple((plain, more) for plain, more in (word.split(":") for word in words.split()))

    return Kind(tuple(things.split(", ")), pairs(good), pairs(bad))


KINDS = (
    _kind(
        "the night train, the ferry, the express bus, the tram, the early flight, the cable car",
        "fast:faster cheap:cheaper quiet:quieter safe:safer clean:cleaner smooth:smoother",
        "slow:slower noisy:noisier dirty:dirtier shaky:shakier late:later",
    ),
    _kind(
        "the bakery on the corner, the market hall, the supermarket, the farm shop, the kiosk by the station",
        "cheap:cheaper friendly:friendlier clean:cleaner fresh:fresher tidy:tidier",
        "rude:ruder dirty:dirtier gloomy:gloomier slow:slower pricey:pricier",
    ),
    _kind(
        "the blue tent, the wooden cabin, the mountain hut, the guest house, the hotel by the lake, the hostel",
        "warm:warmer quiet:quieter clean:cleaner dry:drier roomy:roomier cosy:cosier",
        "cold:colder noisy:noisier dirty:dirtier damp:damper gloomy:gloomier",
    ),
    _kind(
        "the lentil soup, the mushroom pie, the fish stew, the bean salad, the cheese toast, the apple cake",
        "tasty:tastier fresh:fresher hearty:heartier light:lighter cheap:cheaper",
        "bland:blander greasy:greasier heavy:heavier stale:staler pricey:pricier",
    ),
    _kind(
        "the new laptop, the tablet, the office computer, the old typewriter, the phone",
        "fast:faster light:lighter quiet:quieter handy:handier sturdy:sturdier",
        "slow:slower heavy:heavier noisy:noisier clumsy:clumsier flimsy:flimsier",
    ),
    _kind(
        "the second novel, the diary, the story collection, the biography, the travel book",
        "funny:funnier clever:cleverer lively:livelier clear:clearer warm:warmer",
        "dull:duller silly:sillier bleak:bleaker wordy:wordier cold:colder",
    ),
    _kind(
        "the choir, the brass band, the string quartet, the jazz trio, the organ concert",
        "lively:livelier warm:warmer bold:bolder clear:clearer fresh:fresher",
        "dull:duller noisy:noisier sloppy:sloppier cold:colder shaky:shakier",
    ),
    _kind(
        "the river path, the coast road, the forest trail, the canal walk, the steep way up",
        "safe:safer quiet:quieter pretty:prettier dry:drier easy:easier",
        "risky:riskier noisy:noisier ugly:uglier muddy:muddier windy:windier",
    ),
)

# Remarks about A, the thing named first, and B, the thing named second. "{more}" is "cheaper", "{plain}" is "cheap".
A_COMPARED = (
    "{A} is {more} than {B}",
    "{A} was {more} than {B}",
    "I found {A} {more} than {B}",
    "{A} turned out to be {more} than {B}",
    "{A} has always been {more} than {B}",
    "{A} is a lot {more} than {B}",
)
B_COMPARED = (
    "compared with {A}, {B} is {more}",
    "next to {A}, {B} is {more}",
    "I went from {A} to {B}, which was {more}",
    "{A} is fine, but {B} is {more}",
    "I know {A}, and {B} has always been {more}",
    "after {A} I found {B} a lot {more}",
)
A_IS_LESS = (
    "{A} is not as {plain} as {B}",
    "{A} was not nearly as {plain} as {B}",
    "I never found {A} as {plain} as {B}",
)
EQUAL = (
    "{A} is just as {plain} as {B}",
    "{A} was every bit as {plain} as {B}",
    "I always found {A} as {plain} as {B}",
    "{A} and {B} are equally {plain}",
    "{A} is no {more} than {B}",
)
# What somebody would do, with no quality named.
A_CHOSEN = (
    "I would take {A} rather than {B}",
    "I prefer {A} to {B}",
    "I chose {A} over {B}",
    "I would pick {A} instead of {B}",
    "I would never give up {A} for {B}",
)
B_CHOSEN = (
    "rather than {A} I would take {B}",
    "to {A} I prefer {B}",
    "over {A} I chose {B}",
    "instead of {A} I would pick {B}",
    "I would gladly give up {A} for {B}",
    "I would never take {A} over {B}",
)
NOT_CHOSEN = (
    "I would take {A} as soon as {B}",
    "I could never choose between {A} and {B}",
    "I prefer neither {A} nor {B}",
    "whether {A} or {B}, I would take either",
)

OPENINGS = (
    "to be honest, ",
    "as far as I can tell, ",
    "this may sound odd, but ",
    "after all these years, ",
    "for once, ",
)
CLOSINGS = (
    ", as my sister knows",
    ", at least in winter",
    ", and I have tried both",
    ", whatever the weather",
    ", most days",
)
WRONG = (
    "some say that {said}, but they are wrong",
    "it is not true that {said}",
    "my brother thinks that {said}, and I do not",
)
RIGHT = (
    "some say that {said}, and they are right",
    "it is true that {said}",
    "my brother thinks that {said}, and so do I",
)


# Where the rows of a task are made.
MAKERS = {
    "text-classification": (__name__, "preference_rows"),
    "token-classification": ("lt_trainer.data.builtin_facts", "entity_rows"),
    "question-answering": ("lt_trainer.data.builtin_facts", "question_rows"),
    "seq2seq": (__name__, "translation_rows"),
    "causal-lm": (__name__, "text_rows"),
    "masked-lm": (__name__, "text_rows"),
}


def load_builtin(task: str) -> DatasetDict:
    """Returns the built-in data set of a task. It is the same on every machine and Python.

    Args:
        task: a name of MAKERS.

    Returns:
        `train` and `eval`, whose rows differ; their columns are the usual ones of the task.

    Raises:
        ValueError: if there is no built-in data for `task`.
    """
    if task not in MAKERS:
        known = ", ".join(map(repr, MAKERS))
        raise ValueError(
            f"task={task!r}: expected one of {known}, which have built-in data: "
            "read rows of your own with lt_trainer.data.readers.read_rows"
        )
    module, function = MAKERS[task]
    made: DatasetDict = getattr(importlib.import_module(module), function)()
    return made


def preference_rows() -> DatasetDict:
    """3,500 rows to train on and 500 others, with `text` and `label` (`ClassLabel`: names travel with the data)."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    rows = preferences(NUM_EVAL_ROWS + NUM_TRAIN_ROWS)
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(LABELS))})
    parts = {"train": rows[NUM_EVAL_ROWS:], "eval": rows[:NUM_EVAL_ROWS]}
    return DatasetDict(
        {
            name: Dataset.from_dict({"text": [t for t, _ in part], "label": [y for _, y in part]}, features=features)
            for name, part in parts.items()
        }
    )


def text_rows() -> DatasetDict:
    """Texts of one to six remarks: `train` (600 rows) and `eval` (60 rows), with `text` (str)."""
    from datasets import Dataset, DatasetDict

    counts = [REMARKS[i % len(REMARKS)] for i in range(NUM_EVAL_TEXTS + NUM_TRAIN_TEXTS)]
    remarks = iter(text for text, _ in preferences(sum(counts)))
    texts = [" ".join(islice(remarks, count)) for count in counts]
    parts = {"train": texts[NUM_EVAL_TEXTS:], "eval": texts[:NUM_EVAL_TEXTS]}
    return DatasetDict({name: Dataset.from_dict({"text": part}) for name, part in parts.items()})


def translation_rows() -> DatasetDict:
    """`train` and `eval` with `source` (English) and `target` (German): see lt_trainer.data.translation."""
    from datasets import Dataset, DatasetDict

    from lt_trainer.data.translation import sentences

    rows = [{"source": source, "target": target} for source, target in sentences(NUM_EVAL_ROWS + NUM_TRAIN_ROWS)]
    return DatasetDict(train=Dataset.from_list(rows[NUM_EVAL_ROWS:]), eval=Dataset.from_list(rows[:NUM_EVAL_ROWS]))


def preferences(num_rows: int, seed: int = 0) -> list[tuple[str, int]]:
    """Writes remarks that differ from each other, a third for each label.

    Returns:
        (text, label) pairs, label an index into `LABELS`.
    """
    rng = random.Random(seed)
    rows: dict[str, int] = {}
    while len(rows) < num_rows:
        wanted = len(rows) % len(LABELS)
        text, label = _remark(rng)
        if label == wanted and text not in rows:
            rows[text] = label
    return list(rows.items())


def _remark(rng: random.Random) -> tuple[str, int]:
    kind = pick(rng, KINDS)
    a = pick(rng, kind.things)
    b = pick(rng, [thing for thing in kind.things if thing != a])
    is_good = rng.random() < GOOD
    plain, more = pick(rng, kind.good if is_good else kind.bad)
    frame, label = _frame(rng, is_good)
    said = frame.replace("{plain}", plain).replace("{more}", more)
    said, label = _framed(rng, said, label)
    text = said.replace("{A}", a).replace("{B}", b)
    return text[0].upper() + text[1:] + ".", label


def _frame(rng: random.Random, is_good: bool) -> tuple[str, int]:
    """Draws a statement about {A} and {B}, and which of them it favours if its quality is good or bad."""
    by_quality = {True: (FIRST, SECOND), False: (SECOND, FIRST)}
    for_named, for_other = by_quality[is_good]
    draw = rng.random()
    if draw < 0.5:
        return (pick(rng, A_COMPARED), for_named) if rng.random() < 0.5 else (pick(rng, B_COMPARED), for_other)
    if draw < 0.6:
        return pick(rng, A_IS_LESS), for_other
    if draw < 0.75:
        return (pick(rng, A_CHOSEN), FIRST) if rng.random() < 0.5 else (pick(rng, B_CHOSEN), SECOND)
    return (pick(rng, EQUAL), UNDECIDED) if draw < 0.9 else (pick(rng, NOT_CHOSEN), UNDECIDED)


def _framed(rng: random.Random, said: str, label: int) -> tuple[str, int]:
    """Puts words around a statement: some turn it round, some agree with it, some only stand there."""
    draw = rng.random()
    if draw < P_WRONG and label != UNDECIDED:  # to deny that two things are equal leaves open which is better
        said, label = pick(rng, WRONG).replace("{said}", said), SECOND if label == FIRST else FIRST
    elif draw < 2 * P_WRONG:
        said = pick(rng, RIGHT).replace("{said}", said)
    elif rng.random() < 0.25:
        said = pick(rng, OPENINGS) + said
    elif rng.random() < 0.25:
        said += pick(rng, CLOSINGS)
    return said, label
