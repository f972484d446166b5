"""Answers in words beside those that were wanted: exact match and F1 by the official rules of SQuAD v1 and v2.

Source: https://rajpurkar.github.io/SQuAD-explorer (evaluate-v1.1.py, evaluate-v2.0.py)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, one space between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


class AnswerScore(NamedTuple):
    """How well one question was answered: 0 or 1, and 0 to 1."""

    exact: float
    f1: float


def score_answer(predicted: str, wanted: Sequence[str], *, version_2: bool = False) -> AnswerScore:
    """The best over all wanted answers.

    Args:
        predicted: the answer; "" says that there is none.
        wanted: answers of people; none of them: the question has no answer (version 2).
        version_2: the rules of SQuAD v2: two empty answers agree, and wanted answers of which nothing is left
            (an article alone) do not count.
    """
    if version_2:
        wanted = [answer for answer in wanted if normalized(answer)] or [""]
    words = normalized(predicted)
    exact = max((float(words == normalized(answer)) for answer in wanted), default=0.0)
    return AnswerScore(exact, max((_f1(words.split(), normalized(a).split(), version_2) for a in wanted), default=0.0))


def _f1(predicted: list[str], wanted: list[str], version_2: bool) -> float:
    if version_2 and not (predicted and wanted):
        return float(predicted == wanted)
    common = sum((Counter(predicted) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


class AnswerScores:
    """Sums of the scores of questions, in percent at the end.

    Args:
        version_2: see `score_answer`; then questions with and without an answer are also told apart.
    """

    def __init__(self, *, version_2: bool = False) -> None:
        self.version_2 = version_2
        self.total = [0.0, 0.0, 0.0]  # questions, exact, F1, added up in their order as the official scripts do
        self.sums = {True: [0.0, 0.0, 0.0], False: [0.0, 0.0, 0.0]}  # likewise of those with an answer, and without

    def add(self, predicted: str, wanted: Sequence[str]) -> None:
        """Takes in a question."""
        scores = (1.0, *score_answer(predicted, wanted, version_2=self.version_2))
        has_answer = any(map(normalized, wanted))
        for sums in (self.total, self.sums[has_answer]):
            sums[:] = [a + b for a, b in zip(sums, scores, strict=True)]

    def compute(self) -> dict[str, float]:
        """`exact_match` and `f1`, 0 to 100; for v2 also `HasAns_exact`, `HasAns_f1`, `NoAns_exact`, `NoAns_f1`."""
        metrics = {"exact_match": _percent(self.total, 1), "f1": _percent(self.total, 2)}
        if self.version_2:
            for name, has_answer in (("HasAns", True), ("NoAns", False)):
                if self.sums[has_answer][0]:
                    metrics |= {
                        f"{name}_exact": _percent(self.sums[has_answer], 1),
                        f"{name}_f1": _percent(self.sums[has_answer], 2),
                    }
        return metrics


def _percent(sums: Sequence[float], column: int) -> float:
    return 100 * sums[column] / sums[0] if sums[0] else 0.0
