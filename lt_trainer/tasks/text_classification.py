"""Text classification: one text or a pair, and one label of several, several labels, or a number."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lt_trainer.data.collators import DataCollatorWithPadding
from lt_trainer.data.labels import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    encode_targets,
    label_names_of,
    problem_type_of,
)
from lt_trainer.data.tokenized import count_cut, tokens_alone
from lt_trainer.datamodule import TaskData
from lt_trainer.models.auto import AutoModelForSequenceClassification
from lt_trainer.tasks.base import ClassTask
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import nn
    from torchmetrics import Metric

    from lt_trainer.data.tokenized import Columns
    from lt_trainer.data.windows import Collate, Row


class TextClassification(ClassTask):
    """Classifies texts, or gives them numbers.

    Beside the loss it logs the accuracy; for several labels a row micro-averaged F1 and the share of rows with all
    labels right; for numbers the mean squared and absolute error.

    Args:
        model: a name or folder for `AutoModelForSequenceClassification`, "scratch", or a model.
        num_labels: classes, for a model that is loaded.
        label_names: their names in the order of their numbers, for a model that is loaded.
        problem_type: "single_label_classification", "multi_label_classification" or "regression"; None: as the model's
            configuration says, else one label.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        ignore_mismatched_sizes: a head of another number of classes is drawn anew in place of being refused.
        settings: of the optimizer, see Task.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        num_labels: int | None = None,
        label_names: list[str] | None = None,
        problem_type: str | None = None,
        vocab_size: int | None = None,
        ignore_mismatched_sizes: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(
                model,
                AutoModelForSequenceClassification,
                vocab_size=vocab_size,
                label_names=label_names,
                num_labels=num_labels if label_names is None else None,
                problem_type=problem_type,
                ignore_mismatched_sizes=ignore_mismatched_sizes,
            ),
            **settings,
        )
        self.metrics.update(_metrics(self.problem_type, self.config.num_labels))

    @property
    def problem_type(self) -> str:
        """What the model does: as its configuration says, else by its number of labels."""
        return self.config.problem_type or (REGRESSION if self.config.num_labels == 1 else SINGLE_LABEL)

    def score(self, metric: Metric, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts the classes with the highest logits, those that are likelier than not, or the numbers."""
        labels = labels.to(predictions.device)
        if self.problem_type == SINGLE_LABEL:
            metric.update(predictions, labels)
        elif self.problem_type == MULTI_LABEL:
            metric.update((predictions > 0).int(), labels.int())
        else:
            metric.update(predictions.float().reshape(labels.shape), labels.float())

    def prepare_data_module(self, data: TaskData) -> None:
        """The classes, and whether there is one of them a row."""
        super().prepare_data_module(data)
        cast("Any", data).problem_type = self.problem_type

    def records(self, predictions: np.ndarray[Any, Any], rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """Of each row `label` in words and `score`, its probability; `labels` and `scores` for several; or `value`.

        Args:
            predictions: logits [B, C].
            rows: not read.
        """
        if self.problem_type == REGRESSION:
            for row_C in predictions:
                yield {"value": float(row_C[0]) if len(row_C) == 1 else row_C.tolist()}
            return
        names = self.label_names
        if self.problem_type == MULTI_LABEL:
            for row_C in 1 / (1 + np.exp(-np.clip(predictions, -60, 60))):
                likely = [number for number in np.argsort(-row_C) if row_C[number] > 0.5]
                yield {"labels": [names[n] for n in likely], "scores": [float(row_C[n]) for n in likely]}
            return
        shifted_BC = predictions - predictions.max(-1, keepdims=True)
        for row_C in np.exp(shifted_BC) / np.exp(shifted_BC).sum(-1, keepdims=True):
            yield {"label": names[int(row_C.argmax())], "score": float(row_C.max())}


def _metrics(problem_type: str, num_labels: int) -> dict[str, Metric]:
    from torchmetrics import MeanAbsoluteError, MeanSquaredError
    from torchmetrics.classification import MulticlassAccuracy, MultilabelExactMatch, MultilabelF1Score

    if problem_type == REGRESSION:
        return {"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}
    if problem_type == MULTI_LABEL:
        return {
            "f1": MultilabelF1Score(num_labels, average="micro"),
            "accuracy": MultilabelExactMatch(num_labels),
        }
    return {"accuracy": MulticlassAccuracy(num_labels, average="micro")}


class TextClassificationData(TaskData):
    """Rows with a text (or two) and a label.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        text_column: column of the text.
        text_pair_column: column of a second text.
        label_column: column of the label: a number from 0, or a name; a list of them for several labels a row; a
            number with a fraction for regression.
        label_names: names of the classes in the order of their numbers; None: those of the rows, over all splits.
        problem_type: see TextClassification; None: as the labels look.
        max_length: tokens of a row; longer rows are cut. None: what the tokenizer says.
        settings: rows, batches and cache, see TaskData.
    """

    task = "text-classification"

    def __init__(
        self,
        tokenizer: Any,
        *,
        text_column: str = "text",
        text_pair_column: str | None = None,
        label_column: str = "label",
        label_names: list[str] | None = None,
        problem_type: str | None = None,
        max_length: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        self.text_column, self.text_pair_column, self.label_column = text_column, text_pair_column, label_column
        self.max_length = max_length
        if label_names is not None:
            self.label_names = label_names
        if problem_type is not None:
            self.problem_type = problem_type

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two."""
        return (self.text_column,) if self.text_pair_column is None else (self.text_column, self.text_pair_column)

    @property
    def target_column(self) -> str:
        """The label."""
        return self.label_column

    @cached_property
    def problem_type(self) -> str:
        """What the labels look like, over all splits."""
        return problem_type_of(self.rows.values(), self.label_column)

    @cached_property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of their numbers, over all splits."""
        return ["LABEL_0"] if self.problem_type == REGRESSION else label_names_of(self.rows.values(), self.label_column)

    @property
    def num_labels(self) -> int:
        """How many classes there are."""
        return len(self.label_names)

    @property
    def pads(self) -> Collate:
        """Pads the rows of a batch; the model packs them again."""
        return DataCollatorWithPadding(self.tokenizer)

    def parameters(self) -> dict[str, Any]:
        """Columns, classes and the length."""
        columns = {"columns": self.text_columns, "max_length": self.max_length}
        return columns | {"label": (self.label_column, self.label_names, self.problem_type)}

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Tokens of one text or two, and the label."""
        texts = [columns[name] for name in self.text_columns]
        alone = tokens_alone(self.tokenizer)
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.max_length, **alone)
        made = dict(encoded)
        if self.label_column in columns:
            labels = columns[self.label_column]
            made["labels"] = encode_targets(labels, numbers, self.label_column, self.label_names, self.problem_type)
        return made, count_cut(encoded)
