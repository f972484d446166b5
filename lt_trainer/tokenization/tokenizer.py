"""The tokenizer that people hold."""

from __future__ import annotations

import copy
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Unpack

from tokenizers import AddedToken, Tokenizer

from lt_trainer.tokenization import options as opt
from lt_trainer.tokenization.chat import Chat
from lt_trainer.tokenization.reading import added_tokens, load_backend
from lt_trainer.tokenization.rust import rust_errors
from lt_trainer.tokenization.special import as_special
from lt_trainer.tokenization.template import set_template

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


logger = logging.getLogger(__name__)


class PreTrainedTokenizerFast(Chat):
    """A Rust tokenizer with the calls that people know from `transformers`.

    Most people make one with `AutoTokenizer.from_pretrained`. It can be pickled, and two that hold the same make the
    same bytes, used or not: `datasets` keeps caches by them.

    Args:
        tokenizer_object: A `tokenizers.Tokenizer`; it is copied.
        tokenizer_file: A tokenizer.json instead.
        **options: Special tokens and settings; see `TokenizerOptions`.

    Raises:
        ValueError: If neither or both of the first two are given, or the file is broken.
        TypeError: For an option that does not exist.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> words = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
        >>> PreTrainedTokenizerFast(words, unk_token="[UNK]")("good")["input_ids"]
        [1]
    """

    is_fast = True

    def __init__(
        self,
        tokenizer_object: Tokenizer | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        **options: Unpack[opt.TokenizerOptions],
    ) -> None:
        opt.check_names(options)
        if (tokenizer_object is None) == (tokenizer_file is None):
            received = "neither" if tokenizer_object is None else "both"
            raise ValueError(
                f"expected a tokenizer_object or a tokenizer_file (one of them), received {received}: "
                "to load a folder, use AutoTokenizer.from_pretrained"
            )
        if tokenizer_object is not None:
            backend = Tokenizer.from_str(tokenizer_object.to_str())
        else:
            from pathlib import Path

            backend = load_backend(Path(str(tokenizer_file)))
        self._set_up(backend, dict(options), set(options))

    @classmethod
    def from_backend(
        cls, backend: Tokenizer, settings: Mapping[str, Any], given: set[str] | None = None
    ) -> PreTrainedTokenizerFast:
        """Take a backend over without copying it.

        Args:
            backend: Nobody else's.
            settings: Options and whatever else tokenizer_config.json held (kept for `save_pretrained`).
            given: The names among them that the caller gave, rather than a file.
        """
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(backend, dict(settings), given or set())
        return tokenizer

    def _set_up(self, backend: Tokenizer, settings: dict[str, Any], given: set[str]) -> None:
        self._tokenizer = backend
        self._lock = threading.RLock()
        self._said = set()
        self._baked = {"truncation": backend.truncation, "padding": backend.padding}
        self._clear_limits()
        settings = self._baked_settings() | settings
        self.name_or_path = str(settings.get("name_or_path", ""))
        # interned, as the class's own name is: whether the two are one object is part of a pickle
        self.tokenizer_class = sys.intern(str(settings.get("tokenizer_class") or type(self).__name__))
        self.model_max_length = opt.maximum(settings)
        self.model_input_names = list(settings.get("model_input_names") or ("input_ids", "attention_mask"))
        self.padding_side = opt.side(settings, "padding_side")
        self.truncation_side = opt.side(settings, "truncation_side")
        self.clean_up_tokenization_spaces = bool(settings.get("clean_up_tokenization_spaces", False))
        self.split_special_tokens = bool(settings.get("split_special_tokens", False))
        self.chat_template = settings.get("chat_template")
        self.pad_token_type_id = 0
        self._named, self._extra = {}, []
        self._add_listed(settings)
        self._config = {key: value for key, value in settings.items() if key not in _HELD_ELSEWHERE}
        if {"add_bos_token", "add_eos_token"} & given:
            self.set_ends(bool(settings.get("add_bos_token")), bool(settings.get("add_eos_token")))
        elif backend.post_processor is None:
            self.set_ends(False, False)  # without one, the Rust library counts pads as part of the text (sequence_ids)

    def _baked_settings(self) -> dict[str, Any]:
        """What a tokenizer.json that was saved with limits switched on says about sides and the pad token."""
        truncation, padding = self._baked["truncation"], self._baked["padding"]
        settings = {} if truncation is None else {"truncation_side": truncation["direction"]}
        if padding is not None:
            settings |= {"padding_side": padding["direction"], "pad_token": padding["pad_token"]}
        return settings

    def _add_listed(self, settings: Mapping[str, Any]) -> None:
        """Add the tokens that the settings list and the backend lacks, in the order of `transformers`."""
        there = {repr(token) for token in self._tokenizer.get_added_tokens_decoder().values()}
        listed = added_tokens(settings)
        new: list[str | AddedToken] = [token for token in listed.values() if repr(token) not in there]
        named, extra = opt.special_tokens(settings), opt.extra_special_tokens(settings)
        known = {*self.added_tokens_encoder, *map(str, new)}
        for token in (*named.values(), *extra):
            if str(token) not in known:
                known.add(str(token))
                new.append(as_special(token))
        self.add_tokens(new)
        for name, token in named.items():
            self._name_token(name, token)
        self._extra = [str(token) for token in extra]
        for index, added in listed.items():
            found = self._tokenizer.token_to_id(added.content)
            if found != index:
                logger.warning(
                    "The token %r has the id %d in tokenizer_config.json and %s in the vocabulary: the files do not "
                    "belong together, and the model may not know this token",
                    added.content,
                    index,
                    found,
                )

    # --- pieces -----------------------------------------------------------------------------------------------------

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers.Tokenizer`. Its truncation and padding are set for the time of a call only."""
        return self._tokenizer

    @property
    def max_len_single_sentence(self) -> int:
        """The model's maximum without the special tokens of one text."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """The model's maximum without the special tokens of a pair."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def set_ends(self, add_bos_token: bool, add_eos_token: bool) -> None:
        """Put the begin and end tokens around each text, in place of what tokenizer.json does."""
        first = self.bos_token if add_bos_token else None
        last = self.eos_token if add_eos_token else None
        set_template(self._tokenizer, first, last)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"model_max_length={self.model_max_length}, padding_side={self.padding_side!r}, "
            f"truncation_side={self.truncation_side!r}, special_tokens={self.special_tokens_map}, "
            f"added_tokens={len(self.added_tokens_encoder)})"
        )

    # --- copies -----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The same bytes for the same tokenizer, whichever folder it came from and whatever it was used for."""
        with self._lock:
            self._clear_limits()
            self._tokenizer.encode_special_tokens = False
            backend = self._tokenizer.to_str()
        state = {key: value for key, value in self.__dict__.items() if key not in _NOT_PICKLED}
        return {"backend": backend, **dict(sorted(state.items()))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        with rust_errors("the pickled tokenizer cannot be read"):
            self._tokenizer = Tokenizer.from_str(state.pop("backend"))
        self._lock = threading.RLock()
        self._said = set()
        self.name_or_path = ""
        self.__dict__.update(state)
        self.tokenizer_class = sys.intern(self.tokenizer_class)

    def __deepcopy__(self, memo: dict[int, Any]) -> PreTrainedTokenizerFast:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        twin.name_or_path = self.name_or_path
        return twin


_NOT_PICKLED = frozenset({"_tokenizer", "_lock", "_said", "name_or_path"})
# Options that have an attribute or live in the backend; the rest of tokenizer_config.json is carried along.
_HELD_ELSEWHERE = frozenset(
    {
        "added_tokens_decoder",
        "additional_special_tokens",
        "chat_template",
        "clean_up_tokenization_spaces",
        "extra_special_tokens",
        "max_len",
        "model_input_names",
        "model_max_length",
        "name_or_path",
        "padding_side",
        "split_special_tokens",
        "tokenizer_class",
        "truncation_side",
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    }
)

PreTrainedTokenizer = PreTrainedTokenizerFast
PreTrainedTokenizerBase = PreTrainedTokenizerFast
