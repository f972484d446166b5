"""A name or a folder to a tokenizer."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from tokenizers import Tokenizer

from lt_trainer.tokenization import options as opt
from lt_trainer.tokenization.loading import load_tokenizer
from lt_trainer.tokenization.reading import read_files
from lt_trainer.tokenization.tokenizer import PreTrainedTokenizerFast

if TYPE_CHECKING:
    import os

    from lt_trainer.tokenization.reading import Files


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
    ) -> Any:
        """Load a tokenizer.

        Of older files of a family that is not known here, `transformers` makes one where it is installed.

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
        try:
            return load_tokenizer(files, str(pretrained_model_name_or_path), dict(options))
        except FileNotFoundError as error:
            return _foreign(files, str(pretrained_model_name_or_path), dict(options), error)


def _foreign(files: Files, name: str, options: dict[str, Any], error: FileNotFoundError) -> Any:
    """What `transformers` makes of the files: its Rust tokenizer in our class, or its own where it has none.

    Raises:
        FileNotFoundError: `error`, where it is not installed or makes nothing of them either.
    """
    if importlib.util.find_spec("transformers") is None:
        raise error
    import transformers

    try:
        theirs = transformers.AutoTokenizer.from_pretrained(files.root, trust_remote_code=False, **options)
    except Exception as failure:  # of kinds with no common base; what is missing is said better by ours
        raise error from failure
    logger.warning(
        "%s: no tokenizer.json of a native family; %s of `transformers` read it", name, type(theirs).__name__
    )
    backend = getattr(theirs, "backend_tokenizer", None)
    if backend is None:
        return theirs
    settings = {**files.config, "model_input_names": theirs.model_input_names, **theirs.special_tokens_map, **options}
    settings |= {"padding_side": theirs.padding_side, "truncation_side": theirs.truncation_side, "name_or_path": name}
    return PreTrainedTokenizerFast.from_backend(Tokenizer.from_str(backend.to_str()), settings, set(options))


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
