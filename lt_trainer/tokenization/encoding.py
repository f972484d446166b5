"""Text to ids: one call of the Rust library a batch, and as little Python a row as possible."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from lt_trainer.tokenization.batch import BatchEncoding
from lt_trainer.tokenization.forks import guard_forks
from lt_trainer.tokenization.inputs import find_bad_row, make_rows, shown
from lt_trainer.tokenization.limits import Limits, resolve_limits
from lt_trainer.tokenization.request import Request, make_columns
from lt_trainer.tokenization.rust import is_panic
from lt_trainer.tokenization.vocabulary import Vocabulary

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from enum import Enum

    from tokenizers import Encoding

logger = logging.getLogger(__name__)


class Encoder(Vocabulary):
    """Calling a tokenizer."""

    model_max_length: int
    model_input_names: list[str]
    padding_side: str
    truncation_side: str
    split_special_tokens: bool
    _lock: threading.RLock
    _said: set[str]

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str | Enum = False,
        truncation: bool | str | Enum | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | Enum | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        *,
        max_target_length: int | None = None,
        split_special_tokens: bool | None = None,
        return_alignment: bool = True,
    ) -> BatchEncoding:
        """Texts to ids and masks.

        Args:
            text: A text, or a batch of texts; with `is_split_into_words`, a list of words or a batch of such lists.
            text_pair: The second texts, as many as `text`.
            text_target: Texts that become `labels` (on their own: the whole result).
            text_pair_target: The second texts of the targets.
            add_special_tokens: Whether to add the tokens that the model expects around its input.
            padding: True or "longest", "max_length", False or "do_not_pad".
            truncation: True or "longest_first", "only_first", "only_second", False or "do_not_truncate".
            max_length: In tokens, special ones included; the model's maximum where it is needed and not given.
            stride: Tokens that each overflowing piece repeats of the piece before.
            is_split_into_words: Whether texts are lists of words.
            pad_to_multiple_of: Round padded lengths up to a multiple of this.
            padding_side: "right" or "left"; the tokenizer's own when None.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids: Whether to return them; None goes by `model_input_names`.
            return_attention_mask: Whether to return it (1 = real token); None goes by `model_input_names`.
            return_overflowing_tokens: Return what was cut as further rows, and `overflow_to_sample_mapping`.
            return_special_tokens_mask: Return a mask with 1 for special tokens and pads.
            return_offsets_mapping: Return (start, end) characters of each token.
            return_length: Return the number of tokens of each row, pads included.
            verbose: Whether to warn.
            max_target_length: `max_length` of the targets; the same as that of the texts when None.
            split_special_tokens: Treat special tokens that occur in a text as text; the tokenizer's own when None.
            return_alignment: Whether the result knows words, characters and tokens as strings; False is a fifth faster.

        Returns:
            One text gives flat lists, a batch gives lists of rows, tensors always have a batch axis.

        Raises:
            ValueError: For a row that is not text (the message names row and value), and for arguments that exclude
                each other.
        """
        if text is None and text_target is None:
            raise ValueError("text=None and text_target=None: give a text, or a list of texts")
        names = self.model_input_names
        request = Request(
            limits=self._limits(padding, truncation, max_length, pad_to_multiple_of, verbose),
            add_special_tokens=add_special_tokens,
            is_split_into_words=is_split_into_words,
            stride=stride,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=self.padding_side if padding_side is None else padding_side,
            truncation_side=self.truncation_side,
            split_special_tokens=self.split_special_tokens if split_special_tokens is None else split_special_tokens,
            token_type_ids="token_type_ids" in names if return_token_type_ids is None else return_token_type_ids,
            attention_mask="attention_mask" in names if return_attention_mask is None else return_attention_mask,
            overflowing=return_overflowing_tokens,
            special_tokens_mask=return_special_tokens_mask,
            offsets=return_offsets_mapping,
            length=return_length,
            alignment=return_alignment or return_offsets_mapping,
            tensors=return_tensors,
            verbose=verbose,
        )
        batch = None if text is None else self._encode(text, text_pair, request, "text")
        if text_target is None:
            assert batch is not None
            return batch
        targets = self._encode(text_target, text_pair_target, _for_targets(request, max_target_length), "text_target")
        if batch is None:
            return targets
        batch["labels"] = targets["input_ids"]
        return batch

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[Self]:
        """Of releases before 4.22: texts inside are targets. `text_target=` makes the same tokens."""
        warnings.warn("as_target_tokenizer is text_target= now", DeprecationWarning, stacklevel=3)
        yield self

    def encode(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str | Enum = False,
        truncation: bool | str | Enum | None = None,
        max_length: int | None = None,
        stride: int = 0,
        padding_side: str | None = None,
        return_tensors: str | Enum | None = None,
        *,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        split_special_tokens: bool | None = None,
    ) -> Any:
        """The `input_ids` of a call with the same arguments."""
        return self(
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            padding_side=padding_side,
            return_tensors=return_tensors,
            is_split_into_words=is_split_into_words,
            pad_to_multiple_of=pad_to_multiple_of,
            split_special_tokens=split_special_tokens,
        )["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """The tokens of a text (and a second one) as strings."""
        return self(text, pair, add_special_tokens=add_special_tokens, verbose=False).tokens()

    # --- one call ----------------------------------------------------------------------------------------------------

    def _limits(
        self,
        padding: bool | str | Enum,
        truncation: bool | str | Enum | None,
        max_length: int | None,
        pad_to_multiple_of: int | None,
        verbose: bool,
    ) -> Limits:
        return resolve_limits(
            self,
            self.model_max_length,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            verbose=verbose,
        )

    def _encode(self, text: Any, text_pair: Any, request: Request, name: str) -> BatchEncoding:
        rows, is_batch = make_rows(text, text_pair, request.is_split_into_words, name)
        columns, encodings = make_columns(self._run(rows, request, name), request)
        if request.verbose and request.limits.max_length is None:
            self._warn_if_too_long(columns["input_ids"])
        if not is_batch and request.tensors is None and not request.overflowing:
            columns = {name: value if name == "length" else value[0] for name, value in columns.items()}
        return BatchEncoding(columns, encodings, tensor_type=request.tensors, aligned=request.alignment)

    def _run(self, rows: list[Any], request: Request, name: str) -> list[Encoding]:
        has_pairs = bool(rows) and isinstance(rows[0], tuple)
        special = self._tokenizer.num_special_tokens_to_add(has_pairs) if request.add_special_tokens else 0
        request.check_room(special)
        guard_forks()
        with self._lock:  # the limits are state of the Rust object: two threads would see each other's
            try:
                self._set_limits(request)
                return self._call(rows, request)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_panic(error):
                    raise
                raise ValueError(f"{name}: {self._explain(error, rows, request)}") from error
            finally:
                self._clear_limits()

    def _call(self, rows: list[Any], request: Request) -> list[Encoding]:
        encode = self._tokenizer.encode_batch if request.alignment else self._tokenizer.encode_batch_fast
        return encode(rows, is_pretokenized=request.is_split_into_words, add_special_tokens=request.add_special_tokens)

    def _set_limits(self, request: Request) -> None:
        backend, limits = self._tokenizer, request.limits
        self._clear_limits()
        if limits.truncates:
            assert limits.max_length is not None
            backend.enable_truncation(
                limits.max_length, stride=request.stride, strategy=limits.truncation, direction=request.truncation_side
            )
        if limits.pads:
            assert self.pad_token_id is not None
            assert self.pad_token is not None
            backend.enable_padding(
                direction=request.padding_side,
                pad_id=self.pad_token_id,
                pad_type_id=self.pad_token_type_id,
                pad_token=self.pad_token,
                length=limits.max_length if limits.padding == "max_length" else None,
                pad_to_multiple_of=request.pad_to_multiple_of,
            )
        if backend.encode_special_tokens != request.split_special_tokens:
            backend.encode_special_tokens = request.split_special_tokens

    def _clear_limits(self) -> None:
        """Leave no trace of a call: the Rust object is what a pickle, a fingerprint and a saved file are made from."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def _explain(self, error: BaseException, rows: list[Any], request: Request) -> str:
        bad = find_bad_row(rows, request.is_split_into_words)
        if bad is not None:
            return bad
        reason = str(error).strip()
        if "Second sequence not provided" in reason:
            return "truncation='only_second' needs a text_pair; pass it, or truncation='only_first'"
        for index, row in enumerate(rows):
            try:
                self._call([row], request)
            except BaseException as again:
                if not isinstance(again, Exception) and not is_panic(again):
                    raise
                limit = f"max_length={request.limits.max_length}, stride={request.stride}"
                hint = "raise max_length, lower stride, or choose another truncation"
                return f"row {index} ({shown(row)}) does not fit {limit} ({reason}); {hint}"
        return reason

    def _warn_if_too_long(self, rows: list[list[int]]) -> None:
        longest = max(map(len, rows), default=0)
        if longest > self.model_max_length > 0 and "too long" not in self._said:
            self._said.add("too long")
            logger.warning(
                "A row has %d tokens, and the model takes at most %d: it will fail on such rows. Pass truncation=True. "
                "(Said once a tokenizer.)",
                longest,
                self.model_max_length,
            )


def _for_targets(request: Request, max_target_length: int | None) -> Request:
    if max_target_length is None:
        return request
    from dataclasses import replace

    limits = Limits(request.limits.padding, request.limits.truncation, max_target_length)
    return replace(request, limits=limits)
