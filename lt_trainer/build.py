"""From a facade's arguments, data and model to what a run is made of: facts, limits, loaders, flags, overrides."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from lt_trainer.data.checks import LABEL_COLUMNS, Limits
from lt_trainer.data.collators import (
    DataCollatorWithPadding,
    DefaultDataCollator,
    KeepColumns,
    default_data_collator,
)
from lt_trainer.data.language import DataCollatorForLanguageModeling
from lt_trainer.data.order import WindowSampler
from lt_trainer.data.windows import Collate, Window, window_loader
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.heads import SequenceClassification, TokenHead

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from lt_trainer.args.plan import Loader
    from lt_trainer.module import UserLoss
    from lt_trainer.trainer import Trainer


def make_sampler(plan: Loader, num_rows: int, *, training: bool, rank: int, world_size: int) -> WindowSampler:
    """Shuffled windows for training, batches in the order of the rows for evaluation."""
    return WindowSampler(
        num_rows,
        plan.batch_size if training else plan.eval_batch_size,
        plan.accumulation if training else 1,
        seed=plan.seed if training else None,
        drop_last=plan.drop_last and training,
        rank=rank,
        world_size=world_size,
    )


def make_loader(plan: Loader, dataset: Any, collate: Collate, sampler: WindowSampler) -> DataLoader[Window]:
    """A loader with the workers that the arguments ask for."""
    return window_loader(
        dataset,
        collate,
        sampler,
        num_workers=plan.num_workers,
        pin_memory=plan.pin_memory,
        prefetch_factor=plan.prefetch_factor,
        persistent_workers=plan.persistent_workers,
    )


def merge_flags(planned: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Raw flags of `lightning.Trainer` beside those of the plan.

    Raises:
        ValueError: a flag that the arguments decide (all of them at once).
    """
    if taken := sorted(set(planned) & set(given)):
        raise ValueError(
            f"Lightning flags {taken} follow from the training arguments: expected others, received "
            f"{ {name: given[name] for name in taken} }; set the arguments instead (`lt-trainer explain` shows which)"
        )
    return {**planned, **given}


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
    if isinstance(model, TokenHead):
        return model.num_classes
    config = model.config
    one_class = config.problem_type in (None, "single_label_classification") and config.num_labels > 1
    return config.num_labels if one_class and isinstance(model, SequenceClassification) else None


def collator(facade: Trainer) -> Collate:
    """The facade's collator, behind a filter for the columns that the model takes."""
    if not facade.args.remove_unused_columns:
        return facade.data_collator
    parameters = inspect.signature(facade.model.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return facade.data_collator
    names = frozenset(parameters) | {*LABEL_COLUMNS, *(facade.args.label_names or ())}
    if isinstance(facade.data_collator, DataCollatorForLanguageModeling):
        names |= facade.data_collator.columns
    return KeepColumns(facade.data_collator, names, type(facade.model).__name__)


def user_loss(facade: Trainer) -> UserLoss | None:
    """The facade's `compute_loss` where a subclass overrides it or the caller brought a function; else None.

    An override that knows nothing of `num_items_in_batch` returns the mean over a micro-batch, which is weighed by the
    micro-batch's share of the step's targets.
    """
    if not facade.replaces_loss:
        return None
    takes_count = "num_items_in_batch" in inspect.signature(facade.compute_loss).parameters

    def compute(model: nn.Module, batch: Any, num_targets: torch.Tensor, count: int) -> tuple[torch.Tensor, Any]:
        if takes_count:
            loss, outputs = facade.compute_loss(model, batch, return_outputs=True, num_items_in_batch=num_targets)
            return loss, outputs
        loss, outputs = facade.compute_loss(model, batch, return_outputs=True)
        return loss * (count / num_targets), outputs

    return compute


def needs_labels(facade: Trainer) -> bool:
    """Whether rows without labels can only be a mistake: the loss is a native model's, the collator invents none."""
    return isinstance(facade.model, PreTrainedModel) and user_loss(facade) is None and _only_stacks(facade)


def _only_stacks(facade: Trainer) -> bool:
    """Whether the collator takes columns as they are; any other may tokenize, mask or label."""
    collate = facade.data_collator
    return collate is default_data_collator or type(collate) in (DefaultDataCollator, DataCollatorWithPadding)


def ignored_outputs(model: nn.Module) -> tuple[str, ...]:
    """Outputs that models of `transformers` say are no predictions, such as caches."""
    config = getattr(model, "config", None)
    return () if config is None else tuple(getattr(config, "keys_to_ignore_at_inference", ("past_key_values",)))
