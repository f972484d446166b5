"""From a facade's data set to a loader of windows: what the model can take, the order of the rows, the workers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import raise_if
from lt_trainer.args.plan import plan
from lt_trainer.brought import facts_of
from lt_trainer.data.checks import LABEL_COLUMNS, Limits, check_dataset, is_stream
from lt_trainer.data.collators import (
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    DefaultDataCollator,
    KeepColumns,
    default_data_collator,
)
from lt_trainer.data.language import DataCollatorForLanguageModeling
from lt_trainer.data.loaders import BatchLoader, BatchWindows
from lt_trainer.data.once import OnceLoader, OnceWindows
from lt_trainer.data.order import WindowSampler, length_grouped, longest_first
from lt_trainer.data.streams import StreamBatches, StreamLoader
from lt_trainer.losses import LOSS_WEIGHTS
from lt_trainer.machine import global_rank
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.heads import SequenceClassification, TokenHead
from lt_trainer.models.seq2seq import Seq2SeqLM
from lt_trainer.user_steps import user_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lt_trainer.args.plan import Loader
    from lt_trainer.data.windows import Collate
    from lt_trainer.trainer import Trainer


def batch_loader(facade: Trainer, dataset: Any, name: str) -> BatchLoader | StreamLoader | OnceLoader:
    """A checked data set behind a loader of micro-batches, shuffled where `name` is "train_dataset".

    One that evaluates while training goes on is made once a run: its workers persist, its rows are checked once.

    Raises:
        ConfigurationError: the arguments, on this machine with this data.
        ValueError: rows that the model cannot take, or rows without the labels that are needed.
    """
    training = name == "train_dataset"
    known: dict[Any, BatchLoader | StreamLoader] = facade.loaders if facade.is_in_train and not training else {}
    if is_stream(dataset):
        return stream_loader(facade, dataset, training=training)
    if (key := (id(dataset), name)) not in known:
        needs = needs_labels(facade) and name != "test_dataset"
        check_dataset(dataset, limits_of(facade), name=name, needs_labels=needs)
        facts = facts_of(facade, len(dataset) if training else None, facade.eval_dataset is not None)
        decided = plan(facade.args, facts)
        rank, world_size = global_rank(decided.hardware.devices), decided.hardware.world_size
        by_length = decided.loader.order == "group_by_length" if training else _generates_from(facade, dataset)
        lengths = lengths_of(facade, dataset) if by_length else None
        sampler = make_sampler(
            decided.loader, len(dataset), training=training, rank=rank, world_size=world_size, lengths=lengths
        )
        known[key] = make_loader(decided.loader, dataset, collator(facade), sampler)
    return known[key]


def stream_loader(facade: Trainer, dataset: Any, *, training: bool) -> StreamLoader | OnceLoader:
    """A data set without a length behind a loader of micro-batches, in its own order; evaluations leave out no row.

    Raises:
        ConfigurationError: the arguments ask for an order of rows that a stream cannot have, or for no end.
    """
    args = facade.args
    problems = []
    if training and args.max_steps <= 0:
        problems.append(
            "max_steps=-1: the training data set is a stream without a length, so epochs have no end; set max_steps"
        )
    if training and args.train_sampling_strategy == "group_by_length":
        problems.append(
            "train_sampling_strategy='group_by_length': a stream has no rows to group; sort them in a buffer of the "
            "data set's own, or use 'random'"
        )
    raise_if(problems)
    decided = plan(args, replace(facts_of(facade, None, facade.eval_dataset is not None), has_train=training))
    loader, hardware = decided.loader, decided.hardware
    rank, world_size = global_rank(hardware.devices), hardware.world_size
    if not training:
        once = OnceWindows(dataset, collator(facade), loader.eval_batch_size, rank=rank, world_size=world_size)
        return OnceLoader(dataset, once, num_workers=loader.num_workers, pin_memory=loader.pin_memory)
    batches = StreamBatches(
        dataset,
        collator(facade),
        loader.batch_size,
        seed=loader.seed,
        drop_last=loader.drop_last,
        rank=rank,
        world_size=world_size,
    )
    return StreamLoader(batches, **loader_options(loader))


def _generates_from(facade: Trainer, dataset: Any) -> bool:
    """Whether an evaluation generates: rows of like length then end at about the same step, and leave few behind."""
    there = "input_ids" in (getattr(dataset, "column_names", None) or ())
    return there and facade.args.eval_do_concat_batches and facade.predictor() is not None


def make_sampler(
    plan: Loader, num_rows: int, *, training: bool, rank: int, world_size: int, lengths: Sequence[int] | None = None
) -> WindowSampler:
    """Windows in the order that the arguments ask for in training; in evaluation that of the rows, or longest first."""
    order: Any = plan.order
    if lengths is not None:
        order = length_grouped(lengths, plan.batch_size * plan.accumulation) if training else longest_first(lengths)
    return WindowSampler(
        num_rows,
        plan.batch_size if training else plan.eval_batch_size,
        plan.accumulation if training else 1,
        seed=plan.seed if training else None,
        order=order,
        drop_last=plan.drop_last and training,
        rank=rank,
        world_size=world_size,
    )


def make_loader(plan: Loader, dataset: Any, collate: Collate, sampler: WindowSampler) -> BatchLoader:
    """A loader with the workers that the arguments ask for."""
    return BatchLoader(dataset, collate, sampler, **loader_options(plan))


def loader_options(plan: Loader) -> dict[str, Any]:
    """What torch's loader takes of the plan."""
    return {
        "num_workers": plan.num_workers,
        "pin_memory": plan.pin_memory,
        "prefetch_factor": plan.prefetch_factor,
        "persistent_workers": plan.persistent_workers,
        "multiprocessing_context": plan.multiprocessing_context,
    }


def lengths_of(facade: Trainer, dataset: Any) -> list[int]:
    """Tokens of each row: of the column that `length_column_name` names where there is one, else counted."""
    column, name = facade.args.length_column_name, "input_ids"
    if facade.processing_class is not None:
        name = getattr(facade.processing_class, "model_input_names", [name])[0]
    columns = getattr(dataset, "column_names", None) or ()
    if column in columns:
        return [int(length) for length in dataset[column]]
    if name in columns:
        return [len(tokens) for tokens in dataset[name]]
    first = dataset[0]
    if not isinstance(first, Mapping) or name not in first:
        asked = "train_sampling_strategy='group_by_length'"
        if getattr(facade.args, "sortish_sampler", False):
            asked = "sortish_sampler=True"
        raise ValueError(
            f"{asked}: expected rows with '{name}' or a column '{column}', received "
            f"{sorted(first) if isinstance(first, Mapping) else type(first).__name__}: name the column of lengths in "
            "length_column_name"
        )
    return [len(dataset[row][name]) for row in range(len(dataset))]


def windows_of(
    loader: Any, plan: Loader, *, training: bool, steps: int | None = None
) -> tuple[Any, WindowSampler | BatchWindows]:
    """The windows of a loader, and what tells their order: of the facade's own loader, or of one that a user made."""
    if isinstance(loader, BatchLoader):
        return loader.windows, loader.window_sampler
    if isinstance(loader, OnceLoader):
        return loader.windows, BatchWindows(loader)
    windows = BatchWindows(loader, plan.accumulation if training else 1, seed=plan.seed, steps=steps)
    return windows, windows


def limits_of(facade: Trainer) -> Limits:
    """What the model can take, where it says so."""
    model, names = facade.model, tuple(facade.args.label_names or ())
    if not isinstance(model, PreTrainedModel):
        return Limits(label_columns=names or LABEL_COLUMNS)
    return Limits(
        vocab_size=getattr(model.config, "vocab_size", None),
        max_length=model.config.max_row_tokens,
        num_labels=_num_classes(model),
        needs_ids=_only_stacks(facade),
        label_columns=names or (LABEL_COLUMNS if "labels" in model.label_names else model.label_names),
    )


def _num_classes(model: PreTrainedModel) -> int | None:
    """Labels lie below it; None for regression and for several labels a row."""
    if isinstance(model, TokenHead | Seq2SeqLM):
        return model.num_classes
    config = model.config
    one_class = config.problem_type in (None, "single_label_classification") and config.num_labels > 1
    return config.num_labels if one_class and isinstance(model, SequenceClassification) else None


def collator(facade: Trainer) -> Collate:
    """The facade's collator, behind a filter for the columns that the model takes."""
    if not facade.args.remove_unused_columns or facade.task is not None:  # a task's rows hold what it asks for
        return facade.data_collator
    parameters = inspect.signature(facade.model.forward).parameters.values()
    taken = frozenset(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    if not taken:  # a wrapper that passes everything on
        return facade.data_collator
    names = taken | {*LABEL_COLUMNS, LOSS_WEIGHTS, *(facade.args.label_names or ())}
    if isinstance(facade.data_collator, DataCollatorForLanguageModeling):
        names |= facade.data_collator.columns
    return KeepColumns(facade.data_collator, names, type(facade.model).__name__)


def needs_labels(facade: Trainer) -> bool:
    """Whether rows without labels can only be a mistake: the loss is a native model's, the collator invents none."""
    return isinstance(facade.model, PreTrainedModel) and user_loss(facade) is None and _only_stacks(facade)


_STACKS = (DefaultDataCollator, DataCollatorWithPadding, DataCollatorForTokenClassification, DataCollatorForSeq2Seq)


def _only_stacks(facade: Trainer) -> bool:
    """Whether the collator takes columns as they are; any other may tokenize, mask or label."""
    collate = facade.data_collator
    return collate is default_data_collator or type(collate) in _STACKS
