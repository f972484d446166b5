"""What a tokenizer can be told, by tokenizer_config.json or by the caller (who wins)."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, TypedDict

from tokenizers import AddedToken

from lt_trainer.tokenization.limits import NO_LIMIT
from lt_trainer.tokenization.special import SPECIAL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping

    Token = str | AddedToken


class TokenizerOptions(TypedDict, total=False):
    """The names, as `transformers` has them."""

    bos_token: Token | None
    eos_token: Token | None
    unk_token: Token | None
    sep_token: Token | None
    pad_token: Token | None
    cls_token: Token | None
    mask_token: Token | None
    extra_special_tokens: list[Token]
    additional_special_tokens: list[Token]
    model_max_length: int
    model_input_names: list[str]
    padding_side: str
    truncation_side: str
    clean_up_tokenization_spaces: bool
    split_special_tokens: bool
    chat_template: str | dict[str, str]
    name_or_path: str
    tokenizer_class: str
    do_lower_case: bool
    strip_accents: bool | None
    tokenize_chinese_chars: bool
    add_prefix_space: bool
    add_bos_token: bool
    add_eos_token: bool


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse an option of the caller's that no tokenizer has; files may hold more than we read.

    Raises:
        TypeError: Naming the option and the nearest one that exists.
    """
    known = [*TokenizerOptions.__annotations__]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
            raise TypeError(f"{name}={options[name]!r}: a tokenizer has no such option; {hint}")


def as_token(value: Any, name: str) -> str | AddedToken | None:
    """A token as files write it: a string, or an object with `content` and flags.

    Raises:
        ValueError: For anything else.
    """
    if value is None or isinstance(value, str | AddedToken):
        return value
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in value}
        return AddedToken(value["content"], special=bool(value.get("special", True)), **flags)
    raise ValueError(
        f"{name}={value!r:.80}: expected a token as a string, or as an object with 'content': "
        f"write it in quotes, or leave {name} out"
    )


def special_tokens(options: Mapping[str, Any]) -> dict[str, str | AddedToken]:
    """The named special tokens among options, names of a model's own (`image_token`) included."""
    named = [name for name in options if name in SPECIAL_TOKENS or _names_a_token(name, options[name])]
    named.sort(key=lambda name: SPECIAL_TOKENS.index(name) if name in SPECIAL_TOKENS else len(SPECIAL_TOKENS))
    tokens = {name: as_token(options[name], name) for name in named}
    return {name: token for name, token in tokens.items() if token is not None}


def _names_a_token(name: str, value: Any) -> bool:
    return name.endswith("_token") and isinstance(value, str | AddedToken | dict)


def extra_special_tokens(options: Mapping[str, Any]) -> list[str | AddedToken]:
    """Special tokens without a name, under the new or the old key."""
    value = options.get("extra_special_tokens") or options.get("additional_special_tokens") or []
    if isinstance(value, dict):  # some files give them names
        value = list(value.values())
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"extra_special_tokens={value!r:.80}: expected a list of tokens: put it in brackets, ['<tag>']"
        )
    tokens = [as_token(token, "extra_special_tokens") for token in value]
    return [token for token in tokens if token is not None]


def maximum(options: Mapping[str, Any]) -> int:
    """`model_max_length` in tokens, or NO_LIMIT.

    Raises:
        ValueError: If it is no positive number.
    """
    value = options.get("model_max_length", options.get("max_len"))
    if value is None:
        return NO_LIMIT
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
        raise ValueError(
            f"model_max_length={value!r}: expected a positive number of tokens: leave it out for no maximum"
        )
    return int(value)


def side(options: Mapping[str, Any], name: str) -> str:
    """`padding_side` or `truncation_side`: "right" or "left".

    Raises:
        ValueError: For anything else.
    """
    value = options.get(name, "right")
    if value not in ("right", "left"):
        raise ValueError(f"{name}={value!r}: expected 'right' or 'left': leave it out for 'right'")
    return str(value)
