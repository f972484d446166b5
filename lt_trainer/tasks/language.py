"""What the tasks that write text share: a tokenizer; and those of language modelling: texts and the perplexity."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from lt_trainer.arrays import to_numpy
from lt_trainer.data.text_files import lines_of
from lt_trainer.data.texts import SAMPLE_BY, is_text_file, sampled
from lt_trainer.datamodule import TaskData
from lt_trainer.tasks.base import Task
from lt_trainer.tokenization import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from lt_trainer.data.windows import Batch, Row, Window


class TextTask(Task):
    """A task whose predictions are tokens, which are read as text.

    Args:
        model: see Task.
        tokenizer: reads predictions: a tokenizer, its name or folder; None: that of the data, or of the model's folder.
        generate_max_examples: rows of an evaluation that are predicted, the first of the data set, for text takes long
            to write; `predicted_rows` says how many. None: all. The loss is over all rows.
        settings: of the optimizer, see Task.
    """

    def __init__(
        self, model: nn.Module, *, tokenizer: Any = None, generate_max_examples: int | None = None, **settings: Any
    ) -> None:
        super().__init__(model, **settings)
        self._tokenizer = tokenizer
        if generate_max_examples is not None and generate_max_examples < 1:
            raise ValueError(
                f"generate_max_examples={generate_max_examples}: expected 1 row or more, or None for all; with "
                "predict_with_generate=False nothing is written"
            )
        self.generate_max_examples = generate_max_examples

    @property
    def tokenizer(self) -> Any:
        """Loaded when it is first read."""
        if self._tokenizer is None:
            self._tokenizer = getattr(cast("Any", self.model).config, "name_or_path", "")
        if not self._tokenizer:
            raise ValueError(
                f"{type(self).__name__}: expected tokenizer=(a tokenizer, its name or its folder) beside a model that "
                "was not loaded from a folder, received None: give that of the data, data.tokenizer"
            )
        if isinstance(self._tokenizer, str):
            self._tokenizer = AutoTokenizer.from_pretrained(self._tokenizer)
        return self._tokenizer

    def prepare_data_module(self, data: TaskData) -> None:
        """Takes the tokenizer from the data where it was told none."""
        if self._tokenizer is None:
            self._tokenizer = data.tokenizer


class LanguageTask(TextTask):
    """A task whose loss is the cross entropy of tokens."""

    def asked(self, batch: Batch) -> Batch:
        """What of a batch a prediction is made of: all that the model reads."""
        return batch

    def predict_step(self, window: Window, batch_idx: int) -> list[dict[str, Any]]:
        """The `records` of a batch."""
        if self.hooks.predict is None:
            return super().predict_step(window, batch_idx)
        found: list[dict[str, Any]] = []
        for batch in window.batches:
            predictions = to_numpy(self.hooks.predict(self.model, batch))
            found += self.records(predictions, _rows(self.asked(batch)))
        return found

    def loss_scores(self, loss: float) -> dict[str, float]:
        """`perplexity`, e to the mean loss of a token: the loss is summed up batch by batch, no logits are made."""
        return {"perplexity": math.inf if loss > 700 else math.exp(loss)}


def _rows(batch: Batch) -> list[Row]:
    """The real tokens of each row of a batch, padded or packed."""
    packed = batch.get("packed")
    if packed is not None:
        return [{"input_ids": ids.tolist()} for ids in packed.input_ids_N.split(packed.lengths)]
    ids_BT, mask_BT = batch["input_ids"], batch.get("attention_mask")
    masks = torch.ones_like(ids_BT) if mask_BT is None else mask_BT
    return [{"input_ids": ids[mask == 1].tolist()} for ids, mask in zip(ids_BT, masks, strict=True)]


class LanguageData(TaskData):
    """Rows of texts, which are as long as they are: they are cut into pieces, and no token is lost.

    Args:
        tokenizer: see TaskData.
        text_column: column of a text.
        sample_by: what is one text in a .txt file: the whole "document", a "paragraph" or a "line".
        settings: of TaskData.
    """

    def __init__(
        self, tokenizer: Any, *, text_column: str = "text", sample_by: str = "document", **settings: Any
    ) -> None:
        super().__init__(tokenizer, **settings)
        if sample_by not in SAMPLE_BY:
            raise ValueError(
                f"sample_by={sample_by!r}: expected one of {', '.join(SAMPLE_BY)}: 'line' for a text a line"
            )
        self.text_column, self.sample_by = text_column, sample_by

    @cached_property
    def rows(self) -> Mapping[str, Any]:
        """See TaskData; a .txt file becomes one text or many, as `sample_by` says."""
        self.splits = {name: self._read_text(source) for name, source in self.splits.items()}
        return TaskData.rows.func(self)  # type: ignore[attr-defined, no-any-return]

    def encoded(self, rows: Any, split: str) -> Any:
        """See TaskData; rows may be a .txt file."""
        return super().encoded(self._read_text(rows), split)

    def _read_text(self, source: Any) -> Any:
        if not is_text_file(source) or not Path(source).expanduser().is_file():
            return source
        path = Path(source).expanduser()
        texts = sampled([line.rstrip("\r\n") for line in lines_of(path)], self.sample_by)
        if not texts:
            raise ValueError(f"{path} holds no text: expected at least one line that is not blank: name another file")
        return [{self.text_column: text} for text in texts]
