"""A name or a folder to a tokenizer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from lt_trainer.tokenization import options as opt
from lt_trainer.tokenization.families import BY_CLASS, BY_MODEL_TYPE, GENERIC, Family, apply_settings, find_family
from lt_trainer.tokenization.reading import Files, load_backend, read_files, wordpiece_backend
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

if TYPE_CHECKING:
    import os

    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)


class AutoTokenizer:
    """Makes the tokenizer that a folder or a hub repository holds; never made itself."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer is not made directly: use AutoTokenizer.from_pretrained(name_or_folder)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        use_fast: bool = True,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool | None = None,
        subfolder: str = "",
        trust_remote_code: bool | None = None,
        config: Any = None,
        **options: Unpack[opt.TokenizerOptions],
    ) -> PreTrainedTokenizerFast:
        """Load a tokenizer.

        Args:
            pretrained_model_name_or_path: A folder, a hub name, or a tokenizer.json or vocab.txt on its own.
            use_fast: Every tokenizer is the Rust one; False is accepted and makes no difference to the ids.
            revision: Branch, tag or commit of a hub repository.
            token: For a private repository; True takes the one that was logged in with.
            cache_dir: Where downloads are kept.
            local_files_only: Never ask the hub.
            subfolder: Where in the folder or repository the files lie.
            trust_remote_code: Code from a repository is never run; True is accepted, and said to have no effect.
            config: The model's configuration, in place of the config.json that lies there.
            **options: Win over tokenizer_config.json; see `TokenizerOptions`.

        Raises:
            FileNotFoundError: If there is no such folder or repository, or no tokenizer in it.
            ValueError: If a file is broken (the message names it).
            TypeError: For an option that does not exist.
        """
        opt.check_names(options)
        if not use_fast:
            logger.info("use_fast=False: there is one implementation, the Rust one; the ids are the same")
        if trust_remote_code:
            logger.warning("trust_remote_code=True has no effect: code from a repository is never run")
        root = _find(pretrained_model_name_or_path, revision, token, cache_dir, local_files_only)
        files = read_files(root / subfolder if subfolder else root)
        if config is not None:
            is_plain = isinstance(config, dict)
            files.model_config = config if is_plain else {"model_type": getattr(config, "model_type", None)}
        return load_tokenizer(files, str(pretrained_model_name_or_path), dict(options))


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
        if files.vocab_txt is None:
            _raise_missing(files, name)
        family = _wordpiece_family(files, family, name)
        backend = wordpiece_backend(files.vocab_txt, family, settings)
    settings = _family_defaults(family, backend) | settings
    settings["name_or_path"] = name
    if family is not GENERIC:
        settings["tokenizer_class"] = family.name
    return PreTrainedTokenizerFast.from_backend(backend, settings, set(options))


def _find(
    name: str | os.PathLike[str],
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool | None,
) -> Path:
    if Path(name).is_file():
        return Path(name)
    from lt_trainer.fetch import TOKENIZER, resolve_folder

    return resolve_folder(
        name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only, wanted=TOKENIZER
    )


def _family_defaults(family: Family, backend: Tokenizer) -> dict[str, Any]:
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
        f"{name!r}{says} has no tokenizer.json and no vocab.txt in {files.root}; "
        f"found: {', '.join(there) or 'nothing'}. {_REMEDY}"
    )


_REMEDY = (
    "Where only the older files exist (vocab.json, *.model), write tokenizer.json once with the `transformers` extra: "
    "transformers.AutoTokenizer.from_pretrained(name).save_pretrained(folder)"
)
