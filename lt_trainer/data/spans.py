"""Questions and long contexts: windows of tokens, where an answer lies in them, and scores back to text.

Dimension letters: T padded length, K best positions, A answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class ContextWindow(NamedTuple):
    """A question and the part of its context that one row of the model holds.

    Attributes:
        row: the question's number among those that were tokenized together.
        columns: what the tokenizer returned.
        first: the position of the first token of the context.
        starts: character of the context that each of its tokens begins at.
        ends: likewise, where it ends (exclusive).
        windows: how many the question has.
    """

    row: int
    columns: dict[str, list[int]]
    first: int
    starts: np.ndarray[Any, np.dtype[np.int64]]
    ends: np.ndarray[Any, np.dtype[np.int64]]
    windows: int

    def positions(self, start: int, end: int) -> tuple[int, int] | None:
        """The tokens that hold characters `start` to `end` (exclusive); None where they are not all in this window."""
        if not len(self.starts) or start < self.starts[0] or end > self.ends[-1]:
            return None
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        return self.first + first, self.first + int(np.searchsorted(self.ends, end, side="left"))


def context_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], *, max_length: int, stride: int
) -> Iterator[ContextWindow]:
    """Question first, then as much of the context as there is room for, again and again.

    Args:
        tokenizer: ours, or one of `transformers` with a Rust backend; pads on the right.
        questions: white space before them is dropped.
        contexts: as many.
        max_length: tokens of a row.
        stride: tokens of the context that a window repeats of the one before.
    """
    encoded = tokenizer(
        [question.lstrip() for question in questions],
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    rows, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    counts = np.bincount(rows, minlength=len(questions))
    for index, row in enumerate(rows):
        places = [place for place, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 1]
        spans = np.array([offsets[index][place] for place in places], dtype=np.int64).reshape(-1, 2)
        columns = {name: encoded[name][index] for name in encoded}
        first = places[0] if places else len(columns["input_ids"])
        yield ContextWindow(row, columns, first, spans[:, 0], spans[:, 1], int(counts[row]))


# --- scores to text ---------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A possible answer: its text, and the scores of its first and last token; "" is no answer."""

    text: str
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """The sum of both."""
        return self.start_logit + self.end_logit


def candidates_of(
    start_T: np.ndarray[Any, Any], end_T: np.ndarray[Any, Any], window: Mapping[str, Any], n_best: int, max_tokens: int
) -> list[Candidate]:
    """The best answers of one window, best first.

    Args:
        start_T: score of each position as the start.
        end_T: likewise as the end.
        window: `first`, the position of the first token of the context; `text`, the part of the context that the
            window holds; `offsets`, start and end in it of each token, flat.
        n_best: positions that are looked at on either side, and answers that are returned.
        max_tokens: of an answer.
    """
    start_K, end_K = _best(start_T, n_best), _best(end_T, n_best)
    spans_A2 = np.asarray(window["offsets"], dtype=np.int64).reshape(-1, 2)
    begin_K, finish_K = start_K - window["first"], end_K - window["first"]
    inside = [(x >= 0) & (x < len(spans_A2)) for x in (begin_K, finish_K)]
    length_KK = finish_K[None, :] - begin_K[:, None] + 1
    fits_KK = inside[0][:, None] & inside[1][None, :] & (length_KK >= 1) & (length_KK <= max_tokens)
    rows, columns = np.nonzero(fits_KK)
    scores = start_T[start_K][rows] + end_T[end_K][columns]
    found = []
    for chosen in np.argsort(-scores, kind="stable")[:n_best]:
        row, column = rows[chosen], columns[chosen]
        text = window["text"][spans_A2[begin_K[row], 0] : spans_A2[finish_K[column], 1]]
        found.append(Candidate(text, float(start_T[start_K[row]]), float(end_T[end_K[column]])))
    return found


def _best(scores_T: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The positions of the highest scores, best first."""
    best: np.ndarray[Any, np.dtype[np.int64]] = np.argsort(-scores_T, kind="stable")[:count]
    return best


class Question:
    """What the windows of one question have brought so far.

    Args:
        n_best: answers that are kept.
    """

    def __init__(self, n_best: int) -> None:
        self.n_best = n_best
        self.windows = 0
        self.candidates: list[Candidate] = []
        self.null: Candidate | None = None  # no answer, by the window that thinks least of it

    def add(self, candidates: Sequence[Candidate], null: Candidate, windows: int = 1) -> None:
        """Takes in what one window, or several on another process, have found."""
        self.windows += windows
        self.candidates = sorted([*self.candidates, *candidates], key=lambda c: -c.score)[: self.n_best]
        if self.null is None or null.score < self.null.score:
            self.null = null

    def answer(self, *, version_2: bool, threshold: float = 0.0) -> dict[str, Any]:
        """The answer in words.

        Args:
            version_2: whether there may be none.
            threshold: how much better than the best answer none at all must score to be it.

        Returns:
            `answer`; `score`, its probability among the best; `n_best`, all of those; for version 2
            `null_score_diff`, the score of no answer minus that of the best.

        Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 4.3.
        """
        assert self.null is not None
        best = self.candidates
        if version_2:
            best = sorted([*best, self.null], key=lambda c: -c.score)[: self.n_best]
            best = best if any(not c.text for c in best) else [*best, self.null]
        texts = [candidate for candidate in best if candidate.text]
        if not texts:
            best = best if best else [*best, Candidate("", 0.0, 0.0)]
        weights = np.exp([c.score - best[0].score for c in best])
        shown = [
            {**c._asdict(), "probability": float(share)} for c, share in zip(best, weights / weights.sum(), strict=True)
        ]
        chosen = next((number for number, c in enumerate(best) if c.text), 0) if version_2 else 0
        found: dict[str, Any] = {}
        if version_2:
            difference = self.null.score - texts[0].score if texts else float("inf")
            found = {"null_score_diff": difference if texts else None}
            if difference > threshold:
                chosen = next(number for number, c in enumerate(best) if not c.text)
        return {"answer": best[chosen].text, "score": shown[chosen]["probability"], "n_best": shown, **found}
