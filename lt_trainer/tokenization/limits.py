"""What `padding`, `truncation` and `max_length` mean together."""

from __future__ import annotations

import difflib
import logging
import warnings
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lt_trainer.tokenization.special import SpecialTokens

logger = logging.getLogger(__name__)

NO_LIMIT = int(1e30)  # `model_max_length` of a tokenizer that names none, as `transformers` writes it
UNLIMITED_ABOVE = int(1e20)  # files hold rounded forms of NO_LIMIT
PADDING = ("longest", "max_length", "do_not_pad")
TRUNCATION = ("longest_first", "only_first", "only_second", "do_not_truncate")


@dataclass(frozen=True)
class Limits:
    """Resolved: `max_length` is a number wherever `padding` or `truncation` needs one."""

    padding: str
    truncation: str
    max_length: int | None

    @property
    def pads(self) -> bool:
        """Whether anything is padded."""
        return self.padding != "do_not_pad"

    @property
    def truncates(self) -> bool:
        """Whether anything is cut."""
        return self.truncation != "do_not_truncate"


def resolve_limits(
    tokenizer: SpecialTokens,
    model_max_length: int,
    *,
    padding: bool | str | Enum,
    truncation: bool | str | Enum | None,
    max_length: int | None,
    pad_to_multiple_of: int | None = None,
    verbose: bool = True,
) -> Limits:
    """Read the three arguments as `transformers` does.

    `max_length` alone truncates. `padding="max_length"` and truncation without `max_length` take the model's maximum;
    where the tokenizer names none, there is nothing to pad or cut to, and nothing happens (with a warning).

    Raises:
        ValueError: For a value that is not known, for padding without a pad token, and for a `max_length` that is not
            a multiple of `pad_to_multiple_of` where both apply.
    """
    if max_length is not None and padding is False and truncation is None:
        truncation = True
    padding = _choice("padding", padding, PADDING, {True: "longest", False: "do_not_pad"})
    truncation = _choice(
        "truncation", truncation, TRUNCATION, {True: "longest_first", False: "do_not_truncate", None: "do_not_truncate"}
    )
    if padding == "longest" and max_length is not None and truncation == "do_not_truncate" and verbose:
        warnings.warn(
            f"max_length={max_length} has no effect with padding=True and no truncation: "
            "pass truncation=True to cut, or padding='max_length' to pad to it",
            stacklevel=4,
        )
    if max_length is None and (padding == "max_length" or truncation != "do_not_truncate"):
        padding, truncation, max_length = _take_model_maximum(padding, truncation, model_max_length, verbose)
    limits = Limits(padding, truncation, max_length)
    _check(limits, tokenizer, pad_to_multiple_of)
    return limits


def _choice(name: str, value: object, allowed: tuple[str, ...], short: dict[object, str]) -> str:
    value = value.value if isinstance(value, Enum) else value
    if value is None or isinstance(value, bool):
        if value in short:
            return short[value]
    elif value in allowed:
        return str(value)
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; {name}=True is the usual one"
    raise ValueError(f"{name}={value!r}: expected True, False or one of {', '.join(map(repr, allowed))}{hint}")


def _take_model_maximum(padding: str, truncation: str, maximum: int, verbose: bool) -> tuple[str, str, int | None]:
    if maximum <= UNLIMITED_ABOVE:
        return padding, truncation, maximum
    if verbose:
        logger.warning(
            "The tokenizer knows no maximum length (model_max_length is not set), and max_length was not given: "
            "nothing is truncated, and nothing is padded to a maximum. Pass max_length=."
        )
    return "do_not_pad" if padding == "max_length" else padding, "do_not_truncate", None


def _check(limits: Limits, tokenizer: SpecialTokens, pad_to_multiple_of: int | None) -> None:
    if limits.max_length is not None and (isinstance(limits.max_length, bool) or limits.max_length < 1):
        raise ValueError(
            f"max_length={limits.max_length!r}: expected a positive number of tokens: "
            "leave it out for the model's maximum"
        )
    if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
        raise ValueError(
            f"pad_to_multiple_of={pad_to_multiple_of!r}: expected a positive number of tokens, or None: 8 is usual"
        )
    if limits.pads and (tokenizer.pad_token is None or tokenizer.pad_token_id is None):
        raise ValueError(
            f"padding={limits.padding!r}, but the tokenizer has no pad token (pad_token is {tokenizer.pad_token!r}): "
            "set tokenizer.pad_token = tokenizer.eos_token, "
            "or add one with tokenizer.add_special_tokens({'pad_token': '[PAD]'})"
        )
    if limits.pads and limits.truncates and pad_to_multiple_of and limits.max_length is not None:
        rest = limits.max_length % pad_to_multiple_of
        if rest:
            raise ValueError(
                f"max_length={limits.max_length} is not a multiple of pad_to_multiple_of={pad_to_multiple_of}: "
                f"take {limits.max_length - rest} or {limits.max_length - rest + pad_to_multiple_of}"
            )
