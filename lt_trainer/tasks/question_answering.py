"""Extractive question answering: a context and a question in, a part of the context out (SQuAD v1 and v2)."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_trainer.arrays import to_numpy
from lt_trainer.data.collators import DataCollatorWithPadding
from lt_trainer.data.spans import Candidate, ContextWindow, Question, candidates_of, context_windows
from lt_trainer.datamodule import TaskData
from lt_trainer.metrics.answers import AnswerScores
from lt_trainer.models.auto import AutoModelForQuestionAnswering
from lt_trainer.tasks.base import Task
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from lt_trainer.data.tokenized import Columns
    from lt_trainer.data.windows import Collate, Row
    from lt_trainer.drivers import Driver
    from lt_trainer.evaluation import Part


class QuestionAnswering(Task):
    """Finds answers in contexts; logs exact match and F1, in percent, by SQuAD's rules beside the loss.

    Args:
        model: a name or folder for `AutoModelForQuestionAnswering`, "scratch", or a model.
        version_2_with_negative: whether a question may have no answer; None: no, or as the data says that it measures.
        null_score_diff_threshold: how much better than the best answer none at all must score to be it.
        n_best_size: answers that are weighed, and positions that are looked at for their starts and ends.
        max_answer_length: tokens of an answer.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        settings: of the optimizer, see Task.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        version_2_with_negative: bool | None = None,
        null_score_diff_threshold: float = 0.0,
        n_best_size: int = 20,
        max_answer_length: int = 30,
        vocab_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(model, AutoModelForQuestionAnswering, vocab_size=vocab_size),
            **settings,
        )
        self.version_2_with_negative, self.null_score_diff_threshold = (
            version_2_with_negative,
            null_score_diff_threshold,
        )
        self.n_best_size, self.max_answer_length = n_best_size, max_answer_length
        self.begin_scores()

    def prepare_data_module(self, data: TaskData) -> None:
        """Takes over from the data whether a question may have no answer, where nobody has said it."""
        if self.version_2_with_negative is None and isinstance(data, QuestionAnsweringData):
            self.version_2_with_negative = data.version_2_with_negative

    # ---- metrics

    @property
    def reads_predictions(self) -> bool:
        """Answers are made of predicted scores."""
        return True

    def begin_scores(self) -> None:
        """See Task."""
        self._questions: dict[int, Question] = defaultdict(lambda: Question(self.n_best_size))
        self._wanted: dict[int, list[str]] = {}

    def add_scores(self, part: Part) -> None:
        """Keeps the best answers of each question; they are scored when all windows have come."""
        if part.kept is None:
            return
        start_BT, end_BT = to_numpy(part.predictions)[:2]
        for start_T, end_T, kept in zip(start_BT, end_BT, part.kept, strict=True):
            if kept["answers"] is not None:
                self._add(self._questions[kept["row"]], start_T, end_T, kept)
                self._wanted[kept["row"]] = json.loads(kept["answers"])

    def _add(self, question: Question, start_T: Any, end_T: Any, kept: Row) -> None:
        found = candidates_of(start_T, end_T, kept, self.n_best_size, self.max_answer_length)
        question.add(found, Candidate("", float(start_T[kept["null"]]), float(end_T[kept["null"]])))

    def scores(self, driver: Driver) -> dict[str, float]:
        """`exact_match` and `f1`, in percent, over all processes; for version 2 also of either kind of question."""
        together, wanted = dict(self._questions), dict(self._wanted)
        parts = driver.gather((together, wanted)) if driver.world_size > 1 else [(together, wanted)]
        for number, (questions, answers) in enumerate(parts):
            if number == 0:
                together, wanted = dict(questions), dict(answers)
                continue
            wanted |= answers
            for row, question in questions.items():
                known = together.setdefault(row, Question(self.n_best_size))
                known.add(question.candidates, question.null, question.windows)
        scores = AnswerScores(version_2=bool(self.version_2_with_negative))
        for row, question in together.items():
            scores.add(self._answer(question)["answer"], wanted[row])
        return scores.compute()

    def _answer(self, question: Question) -> dict[str, Any]:
        threshold = self.null_score_diff_threshold
        return question.answer(version_2=bool(self.version_2_with_negative), threshold=threshold)

    # ---- predictions

    def records(self, predictions: Any, rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """`id`, `answer`, `score` and `n_best` of each question (see `Question.answer`).

        Args:
            predictions: scores of positions as starts and as ends, each [rows, T].
            rows: what the tokenized rows keep aside.
        """
        assert rows is not None
        question = Question(self.n_best_size)
        for start_T, end_T, row in zip(*predictions[:2], rows, strict=True):
            self._add(question, start_T, end_T, row)
            if question.windows == row["windows"]:
                yield {"id": row["id"], **self._answer(question)}
                question = Question(self.n_best_size)


class QuestionAnsweringData(TaskData):
    """Rows with a context, a question and its answers, as SQuAD has them.

    `answers` holds `text` and `answer_start` (characters), as lists in a dict or dicts in a list; none of them says
    that there is no answer. A context that is longer than a row becomes several windows.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        question_column: column of the question.
        context_column: column of the context.
        answer_column: column of the answers.
        version_2_with_negative: whether a question may have no answer; None: whether one of the rows has none.
        max_length: tokens of a row, question included.
        doc_stride: tokens of the context that a window repeats of the one before; None: a third of a row.
        settings: rows, batches and cache, see TaskData.
    """

    task = "question-answering"
    kept_aside = ("row", "windows", "id", "text", "first", "null", "offsets", "answers")

    def __init__(
        self,
        tokenizer: Any,
        *,
        question_column: str = "question",
        context_column: str = "context",
        answer_column: str = "answers",
        version_2_with_negative: bool | None = None,
        max_length: int = 384,
        doc_stride: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        self.question_column, self.context_column, self.answer_column = question_column, context_column, answer_column
        self.max_length, self._doc_stride = max_length, doc_stride
        if version_2_with_negative is not None:
            self.version_2_with_negative = version_2_with_negative

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Question and context."""
        return self.question_column, self.context_column

    @property
    def target_column(self) -> str:
        """The answers."""
        return self.answer_column

    @property
    def columns(self) -> tuple[str, ...]:
        """Question, context and answers, and a name of the row where it has one."""
        return (*super().columns, "id")

    @cached_property
    def version_2_with_negative(self) -> bool:
        """Whether one of the rows to train on or to validate on has no answer."""
        rows = [self.rows[name] for name in ("train", "validation") if name in self.rows]
        known = [part for part in rows if self.answer_column in part.column_names]
        return any(not answers_of(value) for part in known for value in part[self.answer_column])

    @property
    def pads(self) -> Collate:
        """Pads the rows of a batch; the model packs them again."""
        return DataCollatorWithPadding(self.tokenizer)

    def parameters(self) -> dict[str, Any]:
        """Columns and windows."""
        return {"columns": self.columns, "max_length": self.room, "doc_stride": self.doc_stride}

    @property
    def room(self) -> int:
        """Tokens of a row: no more than the tokenizer says that the model takes."""
        return min(self.max_length, int(self.tokenizer.model_max_length))

    @property
    def doc_stride(self) -> int:
        """Tokens that windows share."""
        return self.room // 3 if self._doc_stride is None else self._doc_stride

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Windows over contexts, where the answers lie in them, and for evaluation what leads back to text."""
        questions, contexts = columns[self.question_column], columns[self.context_column]
        self._check_room(questions, numbers, split)
        answers = [
            self._checked(value, context, number, split)
            for value, context, number in zip(columns.get(self.answer_column, ()), contexts, numbers, strict=False)
        ]
        made: dict[str, list[Any]] = defaultdict(list)
        for window in context_windows(
            self.tokenizer, questions, contexts, max_length=self.room, stride=self.doc_stride
        ):
            for name, values in window.columns.items():
                made[name].append(values)
            null = self._null(window.columns["input_ids"])
            if answers:
                start, end = _target(window, answers[window.row], null)
                made["start_positions"].append(start)
                made["end_positions"].append(end)
            if split != "train":
                known = [text for text, _ in answers[window.row]] if answers else None
                own = columns["id"][window.row] if "id" in columns else numbers[window.row]
                _keep(made, window, contexts[window.row], numbers[window.row], str(own), null, known)
        return dict(made), 0

    def _null(self, ids: list[int]) -> int:
        """The position that stands for no answer: of the class token, else the first."""
        token: int | None = self.tokenizer.cls_token_id
        return ids.index(token) if token is not None and token in ids else 0

    def _check_room(self, questions: Sequence[str], numbers: list[int], split: str) -> None:
        if self.tokenizer.padding_side != "right":
            raise ValueError(
                "question answering: expected padding_side='right', received 'left': set it on the tokenizer"
            )
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        lengths = map(
            len, self.tokenizer([q.lstrip() for q in questions], add_special_tokens=False, verbose=False)["input_ids"]
        )
        for number, length in zip(numbers, lengths, strict=True):
            left = self.room - special - length
            if left <= self.doc_stride:
                raise ValueError(
                    f"{split}, row {number}: a question of {length} tokens leaves {max(left, 0)} of {self.room} for "
                    f"the context, expected over doc_stride={self.doc_stride}: raise max_length, or lower doc_stride"
                )

    def _checked(self, value: Any, context: str, number: int, split: str) -> list[tuple[str, int]]:
        try:
            answers = answers_of(value)
        except ValueError as error:
            raise ValueError(f"{split}, row {number}: {error}") from error
        for text, start in answers:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            if start < 0 or there != text:
                raise ValueError(
                    f"{split}, row {number}: expected the answer {text!r:.60} at character {start} of the context, "
                    f"received {there!r:.60} there: correct answer_start"
                )
        return answers


def answers_of(value: Any) -> list[tuple[str, int]]:
    """(text, first character) of each answer, of a dict of lists or a list of dicts; none for None.

    Raises:
        ValueError: something else, or lists of two lengths.
    """
    if not value:
        return []
    try:
        if isinstance(value, dict):
            return list(zip(value.get("text") or (), value.get("answer_start") or (), strict=True))
        return [(answer["text"], answer["answer_start"]) for answer in value]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "expected answers as {'text': [...], 'answer_start': [...]}, as many of one as of the other, or a list of "
            f"{{'text': ..., 'answer_start': ...}}, received {value!r:.80}: write them so"
        ) from error


def _target(window: ContextWindow, answers: list[tuple[str, int]], null: int) -> tuple[int, int]:
    """Where the first answer lies in a window; `null` twice where it does not, or where there is none."""
    if not answers:
        return null, null
    text, start = answers[0]
    return window.positions(start, start + len(text)) or (null, null)


def _keep(
    made: dict[str, list[Any]],
    window: ContextWindow,
    context: str,
    row: int,
    name: str,
    null: int,
    answers: list[str] | None,
) -> None:
    """Adds what leads from a window's scores back to text: only its own part of the context."""
    begin, end = (int(window.starts[0]), int(window.ends[-1])) if len(window.starts) else (0, 0)
    offsets = np.stack([window.starts, window.ends], axis=1) - begin
    kept = {
        **{"row": row, "windows": window.windows, "id": name, "text": context[begin:end], "first": window.first},
        **{"null": null, "offsets": offsets.flatten().tolist()},
        "answers": None if answers is None else json.dumps(answers),
    }
    for column, value in kept.items():
        made[column].append(value)
