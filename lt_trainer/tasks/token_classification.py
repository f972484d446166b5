"""Token classification: words and tags in, words and tags out; the model sees tokens, nobody else does."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lt_trainer.data.collators import DataCollatorForTokenClassification
from lt_trainer.data.labels import class_numbers, label_names_of
from lt_trainer.data.words import Piece, align, pieces_of
from lt_trainer.datamodule import TaskData
from lt_trainer.metrics.entities import EntityScores
from lt_trainer.models.auto import AutoModelForTokenClassification
from lt_trainer.tasks.base import ClassTask
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from torch import nn

    from lt_trainer.data.tokenized import Columns, Counts
    from lt_trainer.data.windows import Collate, Row
    from lt_trainer.drivers import Driver
    from lt_trainer.evaluation import Part

logger = logging.getLogger(__name__)
Tags = tuple[int, list[str], list[str]]  # number of a tokenized row, predicted and gold tags of its words


class TokenClassification(ClassTask):
    """Tags words; logs entity precision, recall, F1 (equal to seqeval) and the accuracy of words beside the loss.

    Args:
        model: a name or folder for `AutoModelForTokenClassification`, "scratch", or a model.
        label_names: tags in the order of their numbers, for a model that is loaded.
        scheme: None reads tags as CoNLL's script does; IOB1, IOB2, IOE1, IOE2, IOBES or BILOU counts only entities
            that are written by the scheme's rules.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        ignore_mismatched_sizes: a head of another number of classes is drawn anew in place of being refused.
        settings: of the optimizer, see Task.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        label_names: list[str] | None = None,
        scheme: str | None = None,
        vocab_size: int | None = None,
        ignore_mismatched_sizes: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(
                model,
                AutoModelForTokenClassification,
                vocab_size=vocab_size,
                label_names=label_names,
                ignore_mismatched_sizes=ignore_mismatched_sizes,
            ),
            **settings,
        )
        self.scheme = scheme
        self.begin_scores()

    # ---- metrics

    @property
    def reads_predictions(self) -> bool:
        """Entities are counted in predicted tags."""
        return True

    def begin_scores(self) -> None:
        """See Task."""
        self.entities = EntityScores(self.scheme)
        self._open: dict[int, list[Tags]] = defaultdict(list)  # sentences of which a window is still to come

    def add_scores(self, part: Part) -> None:
        """Counts the sentences of a batch; those in windows when their last one has come."""
        if part.labels is None or part.kept is None:
            return
        names, predicted_BT, gold_BT = self.label_names, part.predictions.argmax(-1).tolist(), part.labels.tolist()
        for number, kept, predicted_T, gold_T in zip(part.rows, part.kept, predicted_BT, gold_BT, strict=True):
            positions = [position for position in kept["positions"] if position >= 0]
            predicted, gold = ([names[labels_T[place]] for place in positions] for labels_T in (predicted_T, gold_T))
            self._take((number, predicted, gold), kept["row"], kept["windows"])

    def _take(self, tags: Tags, row: int, windows: int) -> None:
        self._open[row].append(tags)
        if len(self._open[row]) == windows:
            self._count(self._open.pop(row))

    def _count(self, pieces: list[Tags]) -> None:
        predicted: list[str] = []
        gold: list[str] = []
        for _, some_predicted, some_gold in sorted(pieces):
            predicted += some_predicted
            gold += some_gold
        self.entities.add(predicted, gold)

    def scores(self, driver: Driver) -> dict[str, float]:
        """`precision`, `recall`, `f1` of entities and `accuracy` of words, over all processes."""
        whole = EntityScores(self.scheme)
        together: dict[int, list[Tags]] = defaultdict(list)
        for state, pieces_of_rows in driver.gather((self.entities.state(), dict(self._open))):
            whole.merge(state)
            for row, pieces in pieces_of_rows.items():
                together[row] += pieces
        self.entities = whole
        for pieces in together.values():  # windows of these sentences were dealt to several processes
            self._count(pieces)
        return whole.compute()

    # ---- predictions

    def records(
        self, predictions: np.ndarray[Any, Any], rows: Sequence[Row] | None = None
    ) -> Iterator[dict[str, list[str]]]:
        """`words` and `tags` of each sentence; a word that was cut off is tagged "O" (or the first tag there is).

        Args:
            predictions: logits [B, T, C].
            rows: what the tokenized rows keep aside.
        """
        assert rows is not None
        names = self.label_names
        missing = "O" if "O" in names else names[0]
        words: list[str] = []
        tags: list[str] = []
        seen = 0
        for labels_T, row in zip(predictions.argmax(-1), rows, strict=True):
            words += row["words"]
            tags += [names[labels_T[position]] if position >= 0 else missing for position in row["positions"]]
            seen += 1
            if seen == row["windows"]:
                yield {"words": words, "tags": tags}
                words, tags, seen = [], [], 0


class TokenClassificationData(TaskData):
    """Rows with words and a tag for each.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        text_column: column of the words, lists of text; None: "words" or "tokens".
        label_column: column of their tags, names or numbers; None: "tags", "ner_tags" or "labels".
        label_names: tags in the order of their numbers; None: those of the rows, over all splits.
        label_all_tokens: False labels the first token of a word, True all of them (an entity's beginning goes on as
            its inside: B-PER, I-PER).
        max_length: tokens of a row; None: what the tokenizer says.
        stride: None cuts longer sentences, and says how many words that lost; a number splits them into windows that
            repeat so many tokens: each word is answered for where it is farthest from the edges.
        settings: rows, batches and cache, see TaskData.
    """

    task = "token-classification"
    kept_aside = ("row", "windows", "words", "positions", "lost")

    def __init__(
        self,
        tokenizer: Any,
        *,
        text_column: str | None = None,
        label_column: str | None = None,
        label_names: list[str] | None = None,
        label_all_tokens: bool = False,
        max_length: int | None = None,
        stride: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        self._text_column, self._label_column = text_column, label_column
        self.label_all_tokens, self.max_length, self.stride = label_all_tokens, max_length, stride
        if label_names is not None:
            self.label_names = label_names

    # ---- columns

    @property
    def text_column(self) -> str:
        """Column of the words."""
        return self._named(self._text_column, ("words", "tokens"))

    @property
    def label_column(self) -> str:
        """Column of the tags."""
        return self._named(self._label_column, ("tags", "ner_tags", "labels"))

    def _named(self, given: str | None, usual: tuple[str, ...]) -> str:
        there = {name for rows in self.rows.values() for name in rows.column_names or ()} if self.has_rows else set()
        return given or next((name for name in usual if name in there), usual[0])

    @property
    def columns(self) -> tuple[str, ...]:
        """Words and tags."""
        return self.text_column, self.label_column

    @cached_property
    def label_names(self) -> list[str]:
        """Tags in the order of their numbers, over all splits."""
        return label_names_of(self.rows.values(), self.label_column)

    def needs(self, split: str) -> tuple[str, ...]:
        """Words, and to train on tags."""
        own = self.columns if split == "train" else (self.text_column,)
        return (*own, *super().needs(split))

    def texts(self) -> Iterable[str]:
        """The sentences to train on."""
        for row in self.rows["train"].select_columns([self.text_column]):
            yield " ".join(row[self.text_column])

    # ---- tokens

    @property
    def pads(self) -> Collate:
        """Pads the rows of a batch and their labels; the model packs them again."""
        return DataCollatorForTokenClassification(self.tokenizer)

    def parameters(self) -> dict[str, Any]:
        """Columns, tags, and how words become tokens."""
        how = {"all": self.label_all_tokens, "max_length": self.max_length, "stride": self.stride}
        return how | {"columns": self.columns, "labels": self.label_names}

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Tokens of sentences or of their windows, a label a token, and for evaluation the words."""
        sentences, tags = columns[self.text_column], columns.get(self.label_column)
        labels = self._labels(sentences, tags, numbers, split)
        windows = self.stride is not None
        pieces = pieces_of(
            self.tokenizer, sentences, max_length=self.max_length, stride=self.stride or 0, windows=windows
        )
        made: dict[str, list[Any]] = defaultdict(list)
        continuing = self._continuing if self.label_all_tokens else None
        for piece in pieces:
            for name, values in piece.columns.items():
                made[name].append(values)
            if labels is not None:
                made["labels"].append(align(piece, labels[piece.row], continuing))
            self._keep(made, piece, sentences[piece.row], numbers, split)
        cut = sum(len(piece.words) < len(sentences[piece.row]) for piece in pieces) if not windows else 0
        return dict(made), cut

    def _labels(
        self, sentences: Sequence[Any], tags: Sequence[Any] | None, numbers: list[int], split: str
    ) -> list[list[int]] | None:
        ids, found = {name: i for i, name in enumerate(self.label_names)}, []
        known: dict[Any, int] = {}
        for index, (number, words) in enumerate(zip(numbers, sentences, strict=True)):
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(
                    f"{split}, row {number}: expected a list of words in column {self.text_column!r}, received "
                    f"{words!r:.80}: split the text into words"
                )
            if tags is None:
                continue
            own = tags[index]
            if own is None or len(own) != len(words):
                raise ValueError(
                    f"{split}, row {number}: expected a tag for each of {len(words)} words, received "
                    f"{0 if own is None else len(own)} tags for {words[:5]}...: give every word one, 'O' outside"
                )
            found.append(class_numbers(own, number, self.label_column, ids, known))
        return found if tags is not None else None

    @cached_property
    def _continuing(self) -> list[int]:
        """Of each tag the one that a word's further tokens have: the inside of the same entity."""
        names = self.label_names
        inside = [f"I{name[1:]}" if name[:2] == "B-" else name for name in names]
        return [names.index(name) if name in names else number for number, name in enumerate(inside)]

    def _keep(
        self, made: dict[str, list[Any]], piece: Piece, sentence: list[str], numbers: list[int], split: str
    ) -> None:
        """Adds what evaluation reads of a row; of a row to train on only how many words it lost."""
        place = dict(zip(piece.words, piece.positions, strict=True))
        words = range(len(sentence)) if self.stride is None else piece.words
        made["lost"].append(sum(word not in place for word in words))
        if split != "train":
            made["row"].append(numbers[piece.row])
            made["windows"].append(piece.windows)
            made["words"].append([sentence[word] for word in words])
            made["positions"].append([place.get(word, -1) for word in words])

    def _report(self, made: Any, counts: Counts, split: str) -> None:
        super()._report(made, counts, split)
        if lost := sum(made["lost"][:]):
            logger.warning(
                "%s: %d words were cut off and have no tag; stride=... reads long sentences in windows", split, lost
            )
