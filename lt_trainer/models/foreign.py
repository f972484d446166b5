"""Models and configurations that are not native: those of `transformers`, where that extra is installed.

They compute padding, and one line in the log says so. No code of a model repository is run.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.models.configuration import PretrainedConfig

if TYPE_CHECKING:
    import os
    from types import ModuleType

logger = logging.getLogger(__name__)

EXTRA = (
    "Others come from the `transformers` library: pip install 'lt-trainer[transformers]', and the same call takes them "
    "from there"
)
_MODEL_NAMES = re.compile(r"(Auto(Model|Config)\w*)|[A-Z]\w*(Model|Config|PreTrainedModel|For[A-Z]\w*)")


def is_installed() -> bool:
    """Whether `transformers` is there."""
    return importlib.util.find_spec("transformers") is not None


def load_model(auto_class: str, name_or_folder: str | os.PathLike[str], options: dict[str, Any]) -> Any:
    """What `transformers` makes of a folder or a name; weights train in float32 unless `dtype` asks otherwise.

    Args:
        auto_class: such as "AutoModelForCausalLM".
        name_or_folder: see `PreTrainedModel.from_pretrained`.
        options: of its `from_pretrained`.

    Returns:
        The model in evaluation mode; with `output_loading_info` (model, info).
    """
    config = options.get("config")
    if isinstance(config, PretrainedConfig):
        options = {**options, "config": config_of(config)}
    dtype = options.pop("torch_dtype", None) or options.pop("dtype", None) or torch.float32
    loaded = getattr(_library(), auto_class).from_pretrained(name_or_folder, dtype=dtype, **_without_code(options))
    _say(type(loaded[0] if isinstance(loaded, tuple) else loaded).__name__)
    return loaded


def make_model(auto_class: str, config: Any, dtype: torch.dtype | str | None) -> Any:
    """A model of `transformers` with fresh weights."""
    if isinstance(config, PretrainedConfig):
        config = config_of(config)
    model = getattr(_library(), auto_class).from_config(config, dtype=dtype or torch.float32)
    _say(type(model).__name__)
    return model


def load_config(name_or_folder: str | os.PathLike[str], options: dict[str, Any]) -> Any:
    """The configuration of a family that is not native."""
    return _library().AutoConfig.from_pretrained(name_or_folder, **_without_code(options))


def config_of(config: PretrainedConfig) -> Any:
    """A native configuration as `transformers` has it."""
    return config_for(config.model_type, config.to_dict())


def config_for(model_type: str, values: dict[str, Any]) -> Any:
    """A configuration of any family of `transformers`."""
    return _library().AutoConfig.for_model(model_type, **{k: v for k, v in values.items() if k != "model_type"})


def has_config(model_type: Any) -> bool:
    """Whether `transformers` is there and knows the family."""
    return isinstance(model_type, str) and is_installed() and model_type in _library().CONFIG_MAPPING


def has_model(auto_class: str, model_type: str) -> bool:
    """Whether an Auto class of `transformers` has a model for a family that it knows."""
    library = _library()
    return library.CONFIG_MAPPING[model_type] in getattr(library, auto_class)._model_mapping


def named(name: str) -> Any:
    """A class of a model or a configuration that is not native, by its public name.

    Raises:
        AttributeError: no such class, or `transformers` is not installed.
    """
    if not _MODEL_NAMES.fullmatch(name):
        raise AttributeError(f"module 'lt_trainer' has no attribute {name!r}")
    if not is_installed():
        raise AttributeError(f"module 'lt_trainer' has no attribute {name!r}: it is not native. {EXTRA}")
    if name not in dir(_library()):
        raise AttributeError(f"neither 'lt_trainer' nor 'transformers' has {name!r}: expected a public class name")
    if not name.endswith("Config"):
        _say(name)
    return getattr(_library(), name)


def _say(model: str) -> None:
    logger.warning("%s is not native here: it is that of `transformers`, and computes padding", model)


def _without_code(options: dict[str, Any]) -> dict[str, Any]:
    if options.get("trust_remote_code"):
        logger.warning("trust_remote_code=True has no effect: code from a repository is never run")
    return {**{name: value for name, value in options.items() if value is not None}, "trust_remote_code": False}


def _library() -> ModuleType:
    import transformers

    library: ModuleType = transformers
    return library
