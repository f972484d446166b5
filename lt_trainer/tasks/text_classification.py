"""Text classification: one text or a pair of texts, one label of several."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lt_trainer.data.collators import DataCollatorWithPadding
from lt_trainer.data.readers import encode_labels, label_names_of, read_rows
from lt_trainer.datamodule import TaskData
from lt_trainer.models.auto import AutoModelForSequenceClassification
from lt_trainer.tasks.base import Task
from lt_trainer.tokenization import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from datasets import Dataset
    from torch import nn
    from torchmetrics import Metric

    from lt_trainer.data.windows import Collate, Window
    from lt_trainer.state import EvalPrediction


class TextClassification(Task):
    """Classifies texts; logs the accuracy beside the loss.

    Args:
        model: a name or folder for `AutoModelForSequenceClassification`, or a model.
        num_labels: classes, for a model that is loaded.
        label_names: their names in the order of their numbers, for a model that is loaded.
        learning_rate: see Task, as are the arguments after it.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        num_labels: int | None = None,
        label_names: list[str] | None = None,
        learning_rate: float = 5e-5,
        lr_scheduler_type: str = "linear",
        warmup_steps: int = 0,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
    ) -> None:
        from torchmetrics.classification import MulticlassAccuracy

        if isinstance(model, str):
            model = load_classifier(model, num_labels, label_names)
        super().__init__(
            model,
            learning_rate=learning_rate,
            lr_scheduler_type=lr_scheduler_type,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
        )
        self.config = cast("Any", model.config)
        self.metrics["accuracy"] = MulticlassAccuracy(self.config.num_labels, average="micro")

    def score(self, metric: Metric, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts the classes with the highest logits."""
        metric.update(predictions, labels.to(predictions.device))

    def predict_step(self, window: Window, batch_idx: int) -> list[dict[str, Any]]:
        """The `records` of a batch."""
        logits = [self.model(**batch).logits.float().cpu().numpy() for batch in window.batches]
        return [record for logits_BC in logits for record in self.records(logits_BC)]

    @property
    def label_names(self) -> list[str]:
        """The names of the model's classes in the order of their numbers."""
        return [self.config.id2label[number] for number in range(self.config.num_labels)]

    def prepare_data_module(self, data: TaskData) -> None:
        """A trained model says which class has which number; rows to measure may hold only some, or none."""
        cast("Any", data).label_names = self.label_names  # a class of the caller's may take it too

    def records(self, predictions: np.ndarray[Any, Any]) -> Iterator[dict[str, Any]]:
        """`label` in words and `score`, its probability, of each row.

        Args:
            predictions: logits [B, C].
        """
        names = self.label_names
        shifted_BC = predictions - predictions.max(-1, keepdims=True)
        probability_BC = np.exp(shifted_BC) / np.exp(shifted_BC).sum(-1, keepdims=True)
        for row_C in probability_BC:
            yield {"label": names[int(row_C.argmax())], "score": float(row_C.max())}

    @staticmethod
    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        """Accuracy, for the facade."""
        return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}


class TextClassificationData(TaskData):
    """Rows with a text (or two) and a label, from files or data sets.

    Args:
        tokenizer: a name or folder for `AutoTokenizer`, or a tokenizer.
        train: a file (CSV, TSV, JSON lines, Parquet) or a `datasets.Dataset`.
        validation: likewise.
        test: likewise.
        text_column: column of the text.
        text_pair_column: column of a second text.
        label_column: column of the label: a number from 0, or a name.
        label_names: names of the classes in the order of their numbers; None: those of the rows, over all splits.
        max_length: tokens of a row; longer rows are cut. None: what the tokenizer says.
        batch_size: see TaskData, as are the arguments after it.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        train: Any = None,
        validation: Any = None,
        test: Any = None,
        text_column: str = "text",
        text_pair_column: str | None = None,
        label_column: str = "label",
        label_names: list[str] | None = None,
        max_length: int | None = None,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        accumulation: int = 1,
        num_workers: int = 0,
        seed: int = 42,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            accumulation=accumulation,
            num_workers=num_workers,
            seed=seed,
        )
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer) if isinstance(tokenizer, str) else tokenizer
        self.splits = {"train": train, "validation": validation, "test": test}
        self.text_column, self.text_pair_column, self.label_column = text_column, text_pair_column, label_column
        self.max_length = max_length
        if label_names is not None:
            self.label_names = label_names

    @cached_property
    def rows(self) -> Mapping[str, Dataset]:
        """The splits that were given, as they are in their files."""
        columns = [name for name in (self.text_column, self.text_pair_column) if name is not None]
        return {
            name: read_rows(split, text_columns=columns, label_column=self.label_column if name == "train" else None)
            if isinstance(split, str | Path)
            else split
            for name, split in self.splits.items()
            if split is not None
        }

    @cached_property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of their numbers, over all splits."""
        return label_names_of(self.rows.values(), self.label_column)

    @property
    def num_labels(self) -> int:
        """How many classes there are."""
        return len(self.label_names)

    @property
    def collate(self) -> Collate:
        """Pads the rows of a batch; the model packs them again."""
        return DataCollatorWithPadding(self.tokenizer)

    def setup(self, stage: str | None = None) -> None:
        """Called by Lightning: tokenizes what was given, once."""
        if self.train_dataset is None and self.eval_dataset is None and self.test_dataset is None:
            tokenized = {name: self._tokenize(rows) for name, rows in self.rows.items()}
            self.train_dataset = tokenized.get("train")
            self.eval_dataset, self.test_dataset = tokenized.get("validation"), tokenized.get("test")

    def _tokenize(self, rows: Dataset) -> Dataset:
        names = [name for name in (self.text_column, self.text_pair_column) if name is not None]
        if missing := [name for name in names if name not in rows.column_names]:
            raise ValueError(
                f"text column {missing[0]!r} is not there: expected one of {rows.column_names}; name it in text_column"
            )
        if self.label_column in rows.column_names:
            rows = encode_labels(rows, self.label_column, self.label_names)
        return rows.map(
            partial(_tokenize, tokenizer=self.tokenizer, columns=names, max_length=self.max_length),
            batched=True,
            remove_columns=[name for name in rows.column_names if name != "labels"],
            desc="tokenizing",
        )


def load_classifier(name: str, num_labels: int | None, label_names: list[str] | None) -> nn.Module:
    """A classifier with as many classes as the data has, under their names; None: as many as the folder says."""
    settings: dict[str, Any] = {}
    if label_names is not None:
        settings["id2label"] = dict(enumerate(label_names))
        settings["label2id"] = {label: i for i, label in enumerate(label_names)}
        num_labels = len(label_names)
    if num_labels is not None:
        settings["num_labels"] = num_labels
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(name, **settings)
    return model


def _tokenize(batch: Mapping[str, Any], *, tokenizer: Any, columns: list[str], max_length: int | None) -> Any:
    text, pair = batch[columns[0]], batch[columns[1]] if len(columns) > 1 else None
    return tokenizer(text, pair, truncation=True, max_length=max_length)
