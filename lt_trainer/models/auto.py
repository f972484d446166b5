"""The Auto classes: `model_type` in config.json names the family, the Auto class names the head."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, ClassVar

from lt_trainer import fetch
from lt_trainer.models import foreign
from lt_trainer.models.configuration import PretrainedConfig
from lt_trainer.models.loading import read_config

if TYPE_CHECKING:
    import torch

    from lt_trainer.models.base import PreTrainedModel

FAMILIES = {
    "bert": ("lt_trainer.models.bert", "BertConfig"),
    "roberta": ("lt_trainer.models.roberta", "RobertaConfig"),
    "distilbert": ("lt_trainer.models.distilbert", "DistilBertConfig"),
    "gpt2": ("lt_trainer.models.gpt2", "GPT2Config"),
    "t5": ("lt_trainer.models.t5", "T5Config"),
}
"""model_type -> the module of the family and its configuration; its MODELS maps Auto class to model class."""


class AutoConfig:
    """Reads a configuration of any native family, or with the extra of any family of `transformers`."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool | None = None,
        **overrides: Any,
    ) -> Any:
        """The configuration of a folder or of a name on the hub.

        Args:
            name_or_folder: a folder with config.json, or a name on the hub.
            revision: branch, tag or commit on the hub.
            token: for private repositories.
            cache_dir: of the hub's files.
            local_files_only: True never asks the hub.
            overrides: settings that replace the file's, such as `num_labels`.

        Raises:
            FileNotFoundError: no such folder or name, or no config.json in it.
            ValueError: a model type that is not known (lists the native ones), or values that no model can have.
        """
        overrides.pop("trust_remote_code", None)  # code from a repository is never run
        folder = fetch.resolve_folder(
            name_or_folder,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            wanted=fetch.CONFIG,
        )
        values = read_config(folder)
        model_type = values.get("model_type")
        if not _is_native(model_type) and foreign.has_config(model_type):
            return foreign.load_config(folder, overrides)
        config = cls._class(model_type, f"{folder}/config.json").from_dict(values, **overrides)
        config.name_or_path = os.fspath(name_or_folder)
        return config

    @classmethod
    def for_model(cls, model_type: str, **values: Any) -> Any:
        """A configuration of a family with its defaults and these values."""
        if not _is_native(model_type) and foreign.has_config(model_type):
            return foreign.config_for(model_type, values)
        return cls._class(model_type, "for_model")(**values)

    @staticmethod
    def _class(model_type: Any, where: str) -> type[PretrainedConfig]:
        module, name = FAMILIES[_native(model_type, where)]
        config_class: type[PretrainedConfig] = getattr(importlib.import_module(module), name)
        return config_class


class _AutoModel:
    """What the Auto classes share: each is a column of the families' MODELS tables."""

    purpose: ClassVar[str] = "a model without a head"

    def __init__(self) -> None:
        raise TypeError(
            f"{type(self).__name__} is made by from_pretrained(folder or name) or from_config(config): call one of them"
        )

    @classmethod
    def from_pretrained(cls, name_or_folder: str | os.PathLike[str], *, config: Any = None, **options: Any) -> Any:
        """Loads the family's model; see `PreTrainedModel.from_pretrained` for the options.

        A family or a head that is not native comes from `transformers` where that is installed, and a line in the log
        says so.

        Args:
            name_or_folder: a folder with config.json and weights, or a name on the hub.
            config: replaces the folder's.
            options: of `PreTrainedModel.from_pretrained`, settings of the configuration among them.

        Raises:
            FileNotFoundError: no such folder or name, or a file is missing in it.
            ValueError: a family or a head that is neither native nor in `transformers`, or weights that do not fit.
        """
        where = {name: options[name] for name in _WHERE if name in options}
        folder = fetch.resolve_folder(name_or_folder, **where) if config is None else None
        model_type = config.model_type if folder is None else read_config(folder).get("model_type")
        if cls._is_foreign(model_type):
            return foreign.load_model(cls.__name__, folder or name_or_folder, {"config": config, **options})
        options.pop("trust_remote_code", None)  # code from a repository is never run
        model_class = cls._class(_native(model_type, "config" if folder is None else f"{folder}/config.json"))
        config = None if config is None else _as_native(config)
        return model_class.from_pretrained(name_or_folder, config=config, **options)

    @classmethod
    def from_config(cls, config: Any, *, dtype: torch.dtype | str | None = None) -> Any:
        """The family's model with fresh weights.

        Args:
            config: of a native family, or with the extra of any.
            dtype: of the parameters; None = float32.

        Raises:
            ValueError: a family or a head that is neither native nor in `transformers`.
        """
        if cls._is_foreign(config.model_type):
            return foreign.make_model(cls.__name__, config, dtype)
        return cls._class(_native(config.model_type, "config")).from_config(_as_native(config), dtype=dtype)

    @classmethod
    def _is_foreign(cls, model_type: Any) -> bool:
        """Whether the model is to come from `transformers`: the family or its head is not native, and it has both."""
        if _is_native(model_type) and cls.__name__ in importlib.import_module(FAMILIES[model_type][0]).MODELS:
            return False
        return foreign.has_config(model_type) and foreign.has_model(cls.__name__, model_type)

    @classmethod
    def _class(cls, model_type: str) -> type[PreTrainedModel]:
        models: dict[str, type[PreTrainedModel]] = importlib.import_module(FAMILIES[model_type][0]).MODELS
        if cls.__name__ in models:
            return models[cls.__name__]
        having = [name for name in FAMILIES if cls.__name__ in importlib.import_module(FAMILIES[name][0]).MODELS]
        raise ValueError(
            f"{cls.__name__} ({cls.purpose}): model type {model_type!r} has no such head here; families that have: "
            f"{', '.join(having) or 'none yet'}. {foreign.EXTRA}"
        )


_WHERE = ("revision", "token", "cache_dir", "local_files_only")


def _as_native(config: Any) -> PretrainedConfig:
    """The configuration of a native family, which may be one of `transformers`."""
    if isinstance(config, PretrainedConfig):
        return config
    return AutoConfig._class(config.model_type, "config").from_dict(config.to_dict())


def _is_native(model_type: Any) -> bool:
    return isinstance(model_type, str) and model_type in FAMILIES


def _native(model_type: Any, where: str) -> str:
    if _is_native(model_type):
        return str(model_type)
    raise ValueError(
        f"{where}: model_type {model_type!r} is not a native family; native are: {', '.join(FAMILIES)}. {foreign.EXTRA}"
    )


class AutoModel(_AutoModel):
    """Hidden states of any native family."""


class AutoModelForSequenceClassification(_AutoModel):
    """Classes or numbers of rows."""

    purpose = "classification or regression of rows"


class AutoModelForTokenClassification(_AutoModel):
    """Classes of tokens."""

    purpose = "classification of tokens"


class AutoModelForQuestionAnswering(_AutoModel):
    """Spans that answer a question."""

    purpose = "answers as spans of a text"


class AutoModelForMaskedLM(_AutoModel):
    """Hidden tokens."""

    purpose = "prediction of hidden tokens"


class AutoModelForCausalLM(_AutoModel):
    """Next tokens."""

    purpose = "prediction of the next token"


class AutoModelForSeq2SeqLM(_AutoModel):
    """Texts from texts."""

    purpose = "text from text"


class AutoModelForMultipleChoice(_AutoModel):
    """One of several texts."""

    purpose = "the best of several texts for a row"


class AutoModelForNextSentencePrediction(_AutoModel):
    """Whether a text follows another."""

    purpose = "whether a text follows another"
