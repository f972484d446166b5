"""What the two tasks of language modelling share: texts to read, and the perplexity."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.data.text_files import lines_of
from lt_trainer.data.texts import SAMPLE_BY, is_text_file, sampled
from lt_trainer.datamodule import TaskData
from lt_trainer.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Mapping


class LanguageTask(Task):
    """A task whose loss is the cross entropy of tokens."""

    def loss_scores(self, loss: float) -> dict[str, float]:
        """`perplexity`, e to the mean loss of a token: the loss is summed up batch by batch, no logits are made."""
        return {"perplexity": math.exp(loss) if loss < 700 else math.inf}


class LanguageData(TaskData):
    """Rows of texts, which are as long as they are: they are cut into pieces, and no token is lost.

    Args:
        tokenizer: see TaskData, as are the others.
        text_column: column of a text.
        sample_by: what is one text in a .txt file: the whole "document", a "paragraph" or a "line".
        settings: of TaskData.
    """

    def __init__(self, tokenizer: Any, *, text_column: str, sample_by: str, **settings: Any) -> None:
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
