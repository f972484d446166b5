"""The base of the tasks' data modules: raw rows in, windows of tokenized rows out, on any number of processes.

What a task's data is asked, and when::

    rows        read from files, data sets, folders, the hub, or built in (data/sources.py)
    check       refuses rows that the task cannot take, before any is tokenized
    encode      a thousand rows at a time -> columns of tokenized rows; made once and cached (data/tokenized.py)
    reports     how many rows were cut, and what share of a batch padding would have been
    collate     tokenized rows -> batch
"""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

import lt_trainer
from lt_trainer.args.check import near
from lt_trainer.data.order import WindowSampler, epoch_order
from lt_trainer.data.sources import read_source, read_splits
from lt_trainer.data.tokenized import default_cache, key_of, lengths_of, padding_share, tokenize
from lt_trainer.data.vocabulary import SCRATCH, scratch_tokenizer
from lt_trainer.data.windows import Collate, KeepAside, Window, window_loader
from lt_trainer.losses import LOSS_WEIGHTS
from lt_trainer.signatures import ListsSettings
from lt_trainer.tokenization import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.utils.data import DataLoader

    from lt_trainer.data.tokenized import Columns, Counts

logger = logging.getLogger(__name__)
_ATTRIBUTES = {"train": "train_dataset", "validation": "eval_dataset", "test": "test_dataset"}


@dataclass(frozen=True)
class Report:
    """What tokenization made of a split.

    Attributes:
        split: its name.
        counts: raw rows, tokenized rows, raw rows that were cut.
        tokens: real tokens.
        padding: the share of all positions that padding would be, with the batches of the first epoch; no model of
            ours computes it.
    """

    split: str
    counts: Counts
    tokens: int
    padding: float

    def __str__(self) -> str:
        counts = self.counts
        made = f" as {counts.features:,} windows" if counts.features != counts.rows else ""
        cut = f"{counts.truncated:,} of them cut" if counts.truncated else "none cut"
        return (
            f"{self.split}: {counts.rows:,} rows{made}, {cut}; {self.tokens:,} tokens; "
            f"padding would be {self.padding:.1%} of what is computed"
        )


class TaskData(ListsSettings, pl.LightningDataModule):
    """Splits of one task; a subclass says how rows are tokenized (`encode`) and brings the collator.

    A tokenizer is saved beside the model. A subclass may also make its splits itself, in `setup`.

    Args:
        tokenizer: a name or folder for `AutoTokenizer`, a tokenizer, or "scratch" for one with the words of the
            training rows.
        train: rows to train on: a file (CSV, TSV, JSON lines, Parquet, plain text, CoNLL, SQuAD), a
            `datasets.Dataset` or `IterableDataset`, or a list of rows.
        validation: rows to measure by, likewise.
        test: rows to test or to predict, likewise.
        dataset: brings the splits that are not given: a `DatasetDict`, a folder, a name on the hub, or "builtin".
        dataset_config: the configuration of a data set on the hub.
        loss_weights_column: a column of numbers from 0, how much a row's targets count: the loss is the weighted mean.
        cache_dir: where tokenized rows are kept; None: LT_TRAINER_CACHE, or the user's cache folder.
        overwrite_cache: tokenizes again.
        batch_size: rows of a micro-batch on one device.
        eval_batch_size: rows of a batch in evaluation; None: as `batch_size`.
        accumulation: micro-batches of an optimizer step: a Lightning batch is one step, so `accumulate_grad_batches`
            of Lightning's Trainer stays 1.
        num_workers: processes that load data.
        seed: of the order of training rows.
    """

    task = ""
    """The name of the task, for built-in data."""
    kept_aside: tuple[str, ...] = ()
    """Columns of tokenized rows that are for the task and not for the model; see `KeepAside`."""

    def __init__(
        self,
        tokenizer: Any = None,
        *,
        train: Any = None,
        validation: Any = None,
        test: Any = None,
        dataset: Any = None,
        dataset_config: str | None = None,
        loss_weights_column: str | None = None,
        cache_dir: str | None = None,
        overwrite_cache: bool = False,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        accumulation: int = 1,
        num_workers: int = 0,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.accumulation, self.num_workers, self.seed = accumulation, num_workers, seed
        self.splits = {"train": train, "validation": validation, "test": test}
        self.dataset, self.dataset_config = dataset, dataset_config
        self.loss_weights_column = loss_weights_column
        self.cache_dir, self.overwrite_cache = Path(cache_dir) if cache_dir else default_cache(), overwrite_cache
        self.reports: dict[str, Report] = {}
        self._given: list[tuple[Any, Any]] = []  # raw rows that were encoded by themselves, and what came of them
        self.train_dataset: Any = None
        self.eval_dataset: Any = None
        self.test_dataset: Any = None
        self._tokenizer = tokenizer

    # ---- what a task says of its data

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of raw rows that `encode` reads where they are there; others are left alone."""
        return (*self.text_columns, *((self.target_column,) if self.target_column else ()))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that must be there and hold text."""
        return ()

    @property
    def target_column(self) -> str | None:
        """What is to be learnt: a column that rows to train on must have."""
        return None

    def needs(self, split: str) -> tuple[str, ...]:
        """The columns that rows of a split must have: to train on, the target too."""
        further = (self.target_column, self.loss_weights_column) if split == "train" else ()
        return (*self.text_columns, *(name for name in further if name is not None))

    def argument_of(self, column: str) -> str:
        """The argument that names a column, for whoever has to name another."""
        names = [name for name in inspect.signature(type(self)).parameters if name.endswith("_column")]
        return next((name for name in names if getattr(self, name, None) == column), "the class's columns")

    def check(self, rows: Any, split: str) -> None:
        """Refuses rows that the task cannot take.

        Raises:
            ValueError: with the column, those there are, and the argument that names it.
        """
        there = list(rows.column_names or ())
        for name in self.needs(split):
            if name not in there:
                raise ValueError(
                    f"{split}: column {name!r} is not there: expected one of {there}; name it in "
                    f"{self.argument_of(name)}{near(name, there)}"
                )

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Tokenizes some raw rows.

        Args:
            columns: name -> values, of `self.columns` and those of the labels that are there.
            numbers: of the rows in their split, from 0.
            split: "train", "validation" or "test".

        Returns:
            (columns of the tokenized rows, how many of the raw rows were cut).
        """
        raise NotImplementedError(f"{type(self).__name__} has no encode: say how rows are tokenized, or override setup")

    def parameters(self) -> dict[str, Any]:
        """All that `encode` goes by beside the rows and the tokenizer: a part of the cache's key."""
        return {}

    def texts(self) -> Iterable[str]:
        """What a tokenizer from scratch takes its words from."""
        for row in self.rows["train"].select_columns(list(self.text_columns)):
            yield from (str(value) if not isinstance(value, list) else " ".join(value) for value in row.values())

    @property
    def pads(self) -> Collate:
        """Tokenized rows, without what is kept aside -> batch of tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no pads: return a collator from that property")

    @property
    def collate(self) -> Collate:
        """Tokenized rows -> batch of tensors, and what is kept aside beside it."""
        return self.keeping(self.pads)

    def keeping(self, collate: Collate) -> Collate:
        """A collator behind one that keeps aside what the model does not take."""
        return KeepAside(collate, self.kept_aside) if self.kept_aside else collate

    # ---- rows

    @cached_property
    def tokenizer(self) -> Any:
        """Loaded or made when it is first read."""
        if self._tokenizer == SCRATCH:
            return scratch_tokenizer(self.texts())
        return AutoTokenizer.from_pretrained(self._tokenizer) if isinstance(self._tokenizer, str) else self._tokenizer

    @property
    def vocab_size(self) -> int:
        """Tokens of the tokenizer."""
        return len(self.tokenizer)

    @property
    def shown_labels(self) -> list[str] | None:
        """What labels say, by their numbers, to whoever looks at a batch; None where they are tokens or numbers."""
        names: list[str] | None = getattr(self, "label_names", None)  # which tasks with classes have
        return names

    @property
    def has_rows(self) -> bool:
        """Whether any split was given."""
        return self.dataset is not None or any(split is not None for split in self.splits.values())

    @cached_property
    def rows(self) -> Mapping[str, Any]:
        """The splits that were given, as they are where they come from."""
        return read_splits(
            self.splits,
            self.dataset,
            config=self.dataset_config,
            task=self.task,
            text_columns=self.text_columns,
            target_column=self.target_column,
            argument_of=self.argument_of,
        )

    def setup(self, stage: str | None = None) -> None:
        """Called by Lightning: tokenizes what was given, once; without test rows, those of validation to predict."""
        if not self.is_set_up:
            splits = dict(self.rows)
            if stage == "predict" and "test" not in splits and "validation" in splits:
                splits["test"] = splits.pop("validation")
            for split, rows in splits.items():
                setattr(self, _ATTRIBUTES[split], self.encoded(rows, split))

    @property
    def is_set_up(self) -> bool:
        """Whether there are tokenized rows."""
        return any(getattr(self, name) is not None for name in _ATTRIBUTES.values())

    def encoded(self, rows: Any, split: str) -> Any:
        """Tokenized rows of raw ones, from the cache where they were made before.

        Args:
            rows: anything that a split may be.
            split: "train", "validation" or "test": evaluation may keep more of a row than training.
        """
        rows = read_source(rows, split)
        self.check(rows, split)
        read = [n for n in (*self.columns, self.loss_weights_column) if n in (rows.column_names or ())]

        def encode(columns: Columns, numbers: list[int]) -> tuple[dict[str, list[Any]], int]:
            check_texts(columns, self.text_columns, numbers, split)
            weighed = self.loss_weights_column in columns
            return self._encode_weighed(columns, numbers, split) if weighed else self.encode(columns, numbers, split)

        if not hasattr(rows, "__len__"):  # iterable: rows are tokenized as they come, and never counted
            return rows.map(
                lambda columns, numbers: encode(columns, numbers)[0],
                batched=True,
                with_indices=True,
                remove_columns=rows.column_names,
            )
        rows = rows.select_columns(read)
        code = self._code()
        described = (lt_trainer.__version__, code, self.parameters(), self.loss_weights_column, split == "train")
        key = None if code is None else key_of(rows, self.tokenizer, *described)
        made, counts = tokenize(rows, encode, key=key, cache_dir=self.cache_dir, overwrite=self.overwrite_cache)
        if len(made) == 0:
            raise ValueError(f"{split}: no row has a token: expected text, received {counts.rows} rows without any")
        self._report(made, counts, split)
        return made

    def weights(self, weight: float, made: Columns) -> list[Any]:
        """`loss_weights` of the tokenized rows that were made of one raw row: a number a row, or one beside a label."""
        return [weight] * len(next(iter(made.values())))

    def _encode_weighed(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Row by row, so that it is known what was made of each."""
        made: dict[str, list[Any]] = defaultdict(list)
        cut = 0
        assert self.loss_weights_column is not None
        for place, number in enumerate(numbers):
            row = {name: values[place : place + 1] for name, values in columns.items()}
            (weight,) = row.pop(self.loss_weights_column)
            if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise ValueError(
                    f"{split}, row {number}: expected a number from 0 in column {self.loss_weights_column!r}, received "
                    f"{weight!r:.80}: correct it, or remove the row"
                )
            one, few = self.encode(row, [number], split)
            cut += few
            for name, values in {**one, LOSS_WEIGHTS: self.weights(float(weight), one)}.items():
                made[name] += values
        return dict(made), cut

    def encoded_once(self, rows: Any) -> Any:
        """Rows to evaluate, tokenized: for rows that were given before, or made here, what was made of them then."""
        made_here = [self.train_dataset, self.eval_dataset, self.test_dataset, *(made for _, made in self._given)]
        if any(rows is made for made in made_here) or type(self).encode is TaskData.encode:
            return rows
        if not any(rows is raw for raw, _ in self._given):
            self._given.append((rows, self.encoded(rows, "test")))
        return next(made for raw, made in self._given if raw is rows)

    def evaluated(self, rows: Any) -> Any:
        """The tokenized rows of the facade's `eval_dataset`: several sets by name, or those of this module."""
        if not is_several(rows):
            return self.eval_dataset
        return {name: self.encoded_once(part) for name, part in rows.items()}

    def _code(self) -> str | None:
        """The source of a task's data module: who changes `encode` must not get what another one made.

        None where it cannot be read (a class typed into an interpreter): then nothing is cached.
        """
        try:
            return "".join(_source(cls) for cls in type(self).__mro__ if issubclass(cls, TaskData))
        except (OSError, TypeError):
            return None

    def _report(self, made: Any, counts: Counts, split: str) -> None:
        if "input_ids" not in made.column_names:
            return
        lengths, training = lengths_of(made), split == "train"
        order = epoch_order(len(lengths), self.seed, 0) if training else None
        share = padding_share(lengths, self.batch_size if training else self.eval_batch_size, order)
        self.reports[split] = report = Report(split, counts, int(lengths.sum()), share)
        logger.log(logging.WARNING if counts.truncated else logging.INFO, "%s", report)

    # ---- loaders

    def train_dataloader(self) -> DataLoader[Window]:
        """Windows of shuffled rows."""
        return self._loader(self.train_dataset, "train", self.batch_size, self.accumulation, self.seed)

    def val_dataloader(self) -> DataLoader[Window]:
        """Batches in the order of the rows."""
        return self._loader(self.eval_dataset, "validation", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Window]:
        """As for validation."""
        return self._loader(self.test_dataset, "test", self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Window]:
        """The test rows, or where there are none those of validation."""
        rows = self.test_dataset if self.test_dataset is not None else self.eval_dataset
        return self._loader(rows, "test", self.eval_batch_size)

    def _loader(
        self, rows: Any, split: str, batch_size: int, accumulation: int = 1, seed: int | None = None
    ) -> DataLoader[Window]:
        if rows is None:
            raise ValueError(f"{type(self).__name__} has no {split} rows: give it {split}=... (a file or a data set)")
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        sampler = WindowSampler(len(rows), batch_size, accumulation, seed=seed, rank=rank, world_size=world_size)
        return window_loader(rows, self.collate, sampler, num_workers=self.num_workers)


def _source(cls: type) -> str:
    """The text of a class; of one of the package that of its whole file, which takes a hundredth of the time."""
    whole = cls.__module__.startswith(f"{lt_trainer.__name__}.")
    return Path(inspect.getfile(cls)).read_text(encoding="utf-8") if whole else inspect.getsource(cls)


def is_several(rows: Any) -> bool:
    """Whether rows are several sets by name, and not one split of a `DatasetDict`."""
    return (
        isinstance(rows, Mapping) and "validation" not in rows and not all(isinstance(v, list) for v in rows.values())
    )


def check_texts(columns: Columns, names: Iterable[str], numbers: list[int], split: str) -> None:
    """Refuses a value that is no text, with its row."""
    for name in names:
        for number, value in zip(numbers, columns[name], strict=True):
            if not isinstance(value, str):
                raise ValueError(
                    f"{split}, row {number}: expected text in column {name!r}, received {value!r:.80}: "
                    "fill it in, or remove the row"
                )
