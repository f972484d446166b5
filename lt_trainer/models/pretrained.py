"""From the files of a folder to a model: compare names and shapes, build, fill, draw what is new, report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from lt_trainer.models.loading import LoadReport, WeightIndex, check_against, load_into

if TYPE_CHECKING:
    from pathlib import Path

    from lt_trainer.models.base import PreTrainedModel
    from lt_trainer.models.configuration import PretrainedConfig

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound="PreTrainedModel")

_IGNORED_KEYS = (r"(^|\.)position_ids$",)  # a buffer that `transformers` wrote before 4.31


def load_model(
    cls: type[Model],
    folder: Path,
    config: PretrainedConfig,
    dtype: torch.dtype | str | None = None,
    ignore_mismatched_sizes: bool = False,
) -> tuple[Model, LoadReport]:
    """Builds a model and fills it from a folder, in evaluation mode; nothing is allocated before all of it fits.

    Args:
        cls: the model's class.
        folder: holds the weights.
        config: of the model.
        dtype: of the parameters; None = float32, "auto" = the file's.
        ignore_mismatched_sizes: draws parameters whose shapes differ in place of refusing.

    Raises:
        FileNotFoundError: no weights in the folder.
        ValueError: they do not fit, or are incomplete in the model's body.
    """
    index = WeightIndex(folder)
    layers = getattr(config, "num_hidden_layers", 0)
    if layers > len(index):  # before a million layers are laid out to be compared
        raise ValueError(
            f"config.json in {folder} asks for {layers} layers, but its weights are {len(index)} tensors: correct "
            "num_hidden_layers, or take the weights that belong to it"
        )
    model = on_meta(cls, config)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    ties = [list(pair) for pair in model.ties().items()]
    ignored = (*_IGNORED_KEYS, *cls.ignored_keys)
    report = check_against(index, expected, prefix=cls.base_model_prefix, tied=ties, ignored=ignored)
    for alias in _held_as_two(model, index, report):
        model.untie(alias)
    report.require_usable(folder, ignore_mismatched_sizes=ignore_mismatched_sizes)
    _require_body(model, report, folder)
    allocate(model, _dtype_of(dtype, index, report))
    load_into(
        model,
        index,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        prefix=cls.base_model_prefix,
        ignored=ignored,
    )
    fresh = {*report.missing, *(name for name, _, _ in report.mismatched)}
    if fresh:
        model.init_weights(fresh)
    _log(cls.__name__, folder, report)
    return model.eval(), report


def on_meta(cls: type[Model], config: PretrainedConfig) -> Model:
    """A model of names and shapes, without memory."""
    with torch.device("meta"):
        return cls(config)


def allocate(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Gives a model of the meta device memory, without values."""
    model.to(dtype).to_empty(device="cpu")
    model.tie_weights()


def loading_info(report: LoadReport) -> dict[str, Any]:
    """What `output_loading_info` returns, by the names of `transformers`."""
    return {
        "missing_keys": set(report.missing),
        "unexpected_keys": set(report.unexpected),
        "mismatched_keys": set(report.mismatched),
    }


def _held_as_two(model: PreTrainedModel, index: WeightIndex, report: LoadReport) -> list[str]:
    """Aliases whose values differ from their source's: the folder knows better than its config (T5 v1.1 has them)."""
    stored = [(alias, report.sources.get(alias), report.sources.get(source)) for alias, source in model.ties().items()]
    return [alias for alias, one, other in stored if one and other and not torch.equal(index[one], index[other])]


def _require_body(model: PreTrainedModel, report: LoadReport, folder: Path) -> None:
    """A head may be new; a body that is partly random could only be a mistake."""
    body = model.base_model
    prefix = "" if body is model else f"{model.base_model_prefix}."
    allowed = tuple(prefix + name for name in body.fresh_allowed)
    lost = [name for name in report.missing if name.startswith(prefix) and not name.startswith(allowed)]
    if lost:
        raise ValueError(
            f"the weights in {folder} lack {len(lost)} tensors of {type(body).__name__} that config.json asks for: "
            f"{', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}. Expected a complete body (only a head may be "
            "new): correct the configuration, or take the weights that belong to it"
        )


def _dtype_of(dtype: torch.dtype | str | None, index: WeightIndex, report: LoadReport) -> torch.dtype:
    """The type that parameters get; float32 unless asked otherwise, for a step of 2e-5 is lost in bfloat16."""
    if dtype == "auto":
        return index.stored[next(iter(report.sources.values()))].dtype
    return dtype_named(dtype)


def dtype_named(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating type, by itself or by name; None is float32."""
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ValueError(
            f"dtype: expected 'auto', 'float32', 'bfloat16' or 'float16', received {dtype!r}: leave it out to train"
        )
    return named


def _log(model: str, folder: Path, report: LoadReport) -> None:
    """One line of what did not fit; silence where all did."""
    told = {
        "newly initialised, train them before use": list(report.missing),
        "of other shapes, newly initialised": [
            f"{name} {stored} -> {here}" for name, stored, here in report.mismatched
        ],
        "in the files but not in this model": list(report.unexpected),
    }
    parts = [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
    if parts:
        logger.warning("%s from %s: %s", model, folder, "; ".join(parts))
