"""The files of a tokenizer to the tokenizer of their family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from lt_trainer.tokenization.families import (
    BY_CLASS,
    BY_MODEL_TYPE,
    GENERIC,
    LLAMA,
    T5,
    Family,
    apply_settings,
    find_family,
)
from lt_trainer.tokenization.older import (
    byte_level_backend,
    byte_level_family,
    sentencepiece_backend,
    wordpiece_backend,
)
from lt_trainer.tokenization.reading import Files, load_backend
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS: dict[str, type[PreTrainedTokenizerFast]] = {}
"""Names of families -> their classes, which `classes.py` puts here."""


def load_tokenizer(files: Files, name: str, options: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A folder's files and the caller's options to a tokenizer.

    Raises:
        FileNotFoundError: If the files hold no vocabulary that can be read.
    """
    settings: dict[str, Any] = {**files.config, **options}
    family = find_family(options.get("tokenizer_class") or files.tokenizer_class, files.model_config.get("model_type"))
    if files.tokenizer_json is not None:
        if not ({"add_bos_token", "add_eos_token"} & set(options)):
            settings.pop("add_bos_token", None)  # tokenizer.json says what stands around a text
            settings.pop("add_eos_token", None)
        backend = load_backend(files.tokenizer_json)
        apply_settings(backend, family, settings)
    else:
        family, backend = _older(files, family, settings, name)
    settings = family_defaults(family, backend) | settings
    settings["name_or_path"] = name
    if family is not GENERIC:
        settings["tokenizer_class"] = family.name
    kind = KINDS.get(family.name, PreTrainedTokenizerFast)
    return kind.from_backend(backend, settings, set(options))


def _older(files: Files, family: Family, settings: dict[str, Any], name: str) -> tuple[Family, Tokenizer]:
    """The family and the backend of a folder without tokenizer.json."""
    if files.vocab_txt is not None and (family.wordpiece or not (files.byte_level or files.sentencepiece)):
        family = _wordpiece_family(files, family, name)
        return family, wordpiece_backend(files.vocab_txt, family, settings)
    said = files.tokenizer_class or files.model_config.get("model_type")
    if files.byte_level is not None and (family.byte_level or said is None):
        family = byte_level_family(files.byte_level[0], family)
        return family, byte_level_backend(*files.byte_level, family, settings)
    if files.sentencepiece is not None and (family in (T5, LLAMA) or said is None):
        return family, sentencepiece_backend(files.sentencepiece, family, settings)
    _raise_missing(files, name)


def family_defaults(family: Family, backend: Tokenizer) -> dict[str, Any]:
    """What a family names where the files do not: special tokens that the vocabulary has, and the model's inputs."""
    present = {name: token for name, token in family.special_tokens.items() if backend.token_to_id(token) is not None}
    return {**present, "model_input_names": list(family.model_input_names)}


def _wordpiece_family(files: Files, family: Family, name: str) -> Family:
    """The family of a vocab.txt: BERT's, unless the files say that it belongs to something else."""
    if family.wordpiece:
        return family
    said = files.tokenizer_class or files.model_config.get("model_type")
    if said is None:
        return BY_CLASS["BertTokenizer"]
    raise FileNotFoundError(
        f"{name!r} has a vocab.txt but no tokenizer.json, and is a {said!r}: a vocab.txt is read for BERT's families "
        f"only ({', '.join(key for key, row in BY_MODEL_TYPE.items() if row.wordpiece)}). {_REMEDY}"
    )


def _raise_missing(files: Files, name: str) -> NoReturn:
    there = sorted(path.name for path in files.root.iterdir() if path.is_file())[:12]
    kind = files.model_config.get("model_type")
    says = f" (a model of type {kind!r})" if kind else ""
    raise FileNotFoundError(
        f"{name!r}{says} has no tokenizer.json, and no vocab.txt, vocab.json with merges.txt, or sentencepiece model "
        f"that this family is read from, in {files.root}; found: {', '.join(there) or 'nothing'}. {_REMEDY}"
    )


_REMEDY = (
    "Where only older files exist, write tokenizer.json once with the `transformers` extra: "
    "transformers.AutoTokenizer.from_pretrained(name).save_pretrained(folder)"
)
