"""Sequence to sequence: a text becomes another one, as in translation and summarisation."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lt_trainer.arrays import to_numpy
from lt_trainer.data.collators import IGNORED_LABEL, DataCollatorForSeq2Seq
from lt_trainer.data.sources import read_source
from lt_trainer.data.tokenized import count_cut, tokens_alone
from lt_trainer.data.vocabulary import SCRATCH, sentence_tokenizer
from lt_trainer.datamodule import TaskData, check_texts
from lt_trainer.models.auto import AutoModelForSeq2SeqLM
from lt_trainer.models.t5 import T5Config
from lt_trainer.objective import generated
from lt_trainer.tasks.language import TextTask
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import torch
    from torch import nn
    from torchmetrics import Metric

    from lt_trainer.data.tokenized import Columns
    from lt_trainer.data.windows import Batch, Collate, Row, Window
    from lt_trainer.drivers import Driver
    from lt_trainer.evaluation import Part

METRICS = ("bleu", "chrf", "rouge")


class Seq2Seq(TextTask):
    """Writes a text for a text.

    Beside the loss it logs, of what the model writes, `bleu` (sacreBLEU's), `chrf` and `rouge1`, `rouge2`, `rougeL`,
    `rougeLsum`, each 0 to 100, and `gen_len`, the tokens of a row.

    Args:
        model: a name or folder for `AutoModelForSeq2SeqLM`, "scratch" for a small T5 with fresh weights, or a
            model.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        predict_with_generate: evaluations and predictions are what the model writes; False: evaluations have the loss
            alone.
        text_metrics: which of "bleu", "chrf", "rouge" to compute; None: all.
        max_new_tokens: tokens of a text that is written, at most; None: as the model's generation settings say.
        num_beams: beams of the search; None: as the model's generation settings say.
        settings: the tokenizer and the optimizer, see TextTask.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        vocab_size: int | None = None,
        predict_with_generate: bool = True,
        text_metrics: list[str] | None = None,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(model, AutoModelForSeq2SeqLM, vocab_size=vocab_size, scratch=small_t5),
            **settings,
        )
        self.max_new_tokens, self.num_beams = max_new_tokens, num_beams
        if predict_with_generate:
            self.hooks.predict = self.write
            self.metrics.update(_metrics(METRICS if text_metrics is None else text_metrics))

    def prepare_data_module(self, data: TaskData) -> None:
        """Takes from the data what the task was not told: its tokenizer, and how long targets may be."""
        super().prepare_data_module(data)
        if self.max_new_tokens is None:
            self.max_new_tokens = getattr(data, "max_target_length", None)

    def write(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The tokens that the model writes for the rows of a batch, [B, tokens]."""
        settings = {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams}
        return generated(model, batch, {name: value for name, value in settings.items() if value is not None})

    def texts_of(self, ids: Any) -> list[str]:
        """Rows of token ids, filled up with anything, in words.

        Args:
            ids: [rows, tokens], an array or a tensor.
        """
        rows = to_numpy(ids)
        end = self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        texts = self.tokenizer.batch_decode(np.where(rows == IGNORED_LABEL, end, rows), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def add_scores(self, part: Part) -> None:
        """Compares what was written with what was wanted."""
        if part.labels is None:
            return
        written, wanted = self.texts_of(part.predictions), self.texts_of(part.labels)
        for name, metric in self.metrics.items():
            scored = cast("Any", metric)
            if name == "gen_len":
                pad = self.tokenizer.pad_token_id
                scored.update((part.predictions[:, 1:] != pad).sum(dim=1).float().cpu())
            else:
                scored.update(written, [[text] for text in wanted] if name == "bleu" else wanted)

    def scores(self, driver: Driver) -> dict[str, float]:
        """The metrics by name; ROUGE has four."""
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            value = cast("Any", metric).compute()
            found |= {kind: float(v) for kind, v in value.items()} if isinstance(value, dict) else {name: float(value)}
        return found

    def predict_step(self, window: Window, batch_idx: int) -> list[dict[str, Any]]:
        """The `records` of a batch."""
        return [record for batch in window.batches for record in self.records(self.write(self.model, batch))]

    def records(self, predictions: Any, rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """The `text` that was written for each row.

        Args:
            predictions: token ids [rows, tokens].
            rows: not read.
        """
        for text in self.texts_of(predictions):
            yield {"text": text}


def small_t5(**settings: Any) -> T5Config:
    """The configuration of a T5 that a CPU trains in minutes; `settings` are others than its sizes."""
    sizes: dict[str, Any] = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_heads": 4}
    return T5Config(**sizes, dropout_rate=0.0, decoder_start_token_id=0, **settings)


class Seq2SeqData(TaskData):
    """Rows with a source text and a target text.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        source_column: column of the text to read; "translation.en" is the entry "en" of a column of dicts.
        target_column: column of the text to write; rows to predict need none.
        source_prefix: stands before each source, such as "translate English to German: ".
        max_source_length: tokens of a source with its prefix; longer ones are cut.
        max_target_length: tokens of a target; longer ones are cut. Also what evaluations write at most.
        settings: rows, batches and cache, see TaskData.
    """

    task = "seq2seq"
    max_target_length: int = 128

    def __init__(
        self,
        tokenizer: Any,
        *,
        source_column: str = "source",
        target_column: str = "target",
        source_prefix: str = "",
        max_source_length: int = 512,
        max_target_length: int = 128,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        self.source_column, self._target_column, self.source_prefix = source_column, target_column, source_prefix
        self.max_source_length, self.max_target_length = max_source_length, max_target_length

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The source."""
        return (self.source_column,)

    @property
    def target_column(self) -> str:
        """The target."""
        return self._target_column

    @cached_property
    def tokenizer(self) -> Any:
        """Loaded or made when it is first read."""
        return sentence_tokenizer(self.texts()) if self._tokenizer == SCRATCH else super().tokenizer

    def texts(self) -> Iterable[str]:
        """Sources and targets of the training rows."""
        columns = [self.source_column, self.target_column]
        for row in _flat(self.rows["train"], columns).select_columns(columns):
            yield from row.values()

    @property
    def pads(self) -> Collate:
        """Pads sources and targets, each to their longest; the model packs them again."""
        return DataCollatorForSeq2Seq(self.tokenizer)

    def parameters(self) -> dict[str, Any]:
        """Columns, prefix and lengths."""
        lengths = {"max_length": (self.max_source_length, self.max_target_length)}
        return lengths | {"columns": (self.source_column, self.target_column), "prefix": self.source_prefix}

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Tokens of the source behind its prefix, and those of the target as `labels`."""
        sources = [self.source_prefix + text for text in columns[self.source_column]]
        alone = tokens_alone(self.tokenizer)
        encoded = self.tokenizer(sources, truncation=True, max_length=self.max_source_length, **alone)
        made, parts = dict(encoded), [encoded]
        if self.target_column in columns:
            check_texts(columns, [self.target_column], numbers, split)
            parts.append(
                self.tokenizer(
                    text_target=columns[self.target_column],
                    truncation=True,
                    max_length=self.max_target_length,
                    **alone,
                )
            )
            made["labels"] = parts[1]["input_ids"]
        return made, count_cut(*parts)

    def encoded(self, rows: Any, split: str) -> Any:
        """As in TaskData; entries of a column of dicts are columns by themselves."""
        return super().encoded(_flat(read_source(rows, split), self.columns), split)


def _flat(rows: Any, names: Sequence[str]) -> Any:
    """Rows in which "translation.en" is a column, where "translation" holds dicts."""
    nested = any("." in name and name not in (rows.column_names or ()) for name in names)
    return rows.flatten() if nested and hasattr(rows, "flatten") else rows


def _metrics(names: Sequence[str]) -> dict[str, Metric]:
    from torchmetrics import MeanMetric

    from lt_trainer.metrics.texts import BLEU, ChrF, Rouge

    known: dict[str, type[Metric]] = {"bleu": BLEU, "chrf": ChrF, "rouge": Rouge}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"text_metrics: expected some of {', '.join(known)}, received {unknown[0]!r}: leave it out")
    return {**{name: known[name]() for name in names}, "gen_len": MeanMetric()}
