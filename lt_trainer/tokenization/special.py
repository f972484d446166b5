"""Named special tokens: `tokenizer.pad_token`, `tokenizer.pad_token_id` and what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from tokenizers import AddedToken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _NamedToken:
    """A special token as a string, or None where the tokenizer has none."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.__doc__ = f"The {name.removesuffix('_token')} token as a string, or None."

    @overload
    def __get__(self, obj: None, owner: type) -> _NamedToken: ...
    @overload
    def __get__(self, obj: SpecialTokens, owner: type) -> str | None: ...
    def __get__(self, obj: SpecialTokens | None, owner: type) -> _NamedToken | str | None:
        return self if obj is None else obj._named.get(self.name)

    def __set__(self, obj: SpecialTokens, value: str | AddedToken | None) -> None:
        if value is not None and not isinstance(value, str | AddedToken):
            raise TypeError(
                f"{self.name}={value!r}: expected a token as str or AddedToken, or None: an id goes to {self.name}_id"
            )
        obj._name_token(self.name, value)


class _NamedTokenId:
    """The id of a special token, or None where the tokenizer has none."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.removesuffix("_id")
        self.__doc__ = f"The id of `{self.name}`, or None."

    @overload
    def __get__(self, obj: None, owner: type) -> _NamedTokenId: ...
    @overload
    def __get__(self, obj: SpecialTokens, owner: type) -> int | None: ...
    def __get__(self, obj: SpecialTokens | None, owner: type) -> _NamedTokenId | int | None:
        if obj is None:
            return self
        token = obj._named.get(self.name)
        return None if token is None else obj._token_to_id(token)

    def __set__(self, obj: SpecialTokens, value: int | None) -> None:
        token = None if value is None else obj._id_to_token(value)
        if value is not None and token is None:
            raise ValueError(
                f"{self.name}_id={value!r}: the vocabulary has no token with this id: expected an id below "
                f"len(tokenizer); add the token first, add_special_tokens({{{self.name!r}: ...}})"
            )
        obj._name_token(self.name, token)


class SpecialTokens:
    """Which tokens have a name, and which others are skipped by `skip_special_tokens`."""

    bos_token = _NamedToken()
    eos_token = _NamedToken()
    unk_token = _NamedToken()
    sep_token = _NamedToken()
    pad_token = _NamedToken()
    cls_token = _NamedToken()
    mask_token = _NamedToken()
    bos_token_id = _NamedTokenId()
    eos_token_id = _NamedTokenId()
    unk_token_id = _NamedTokenId()
    sep_token_id = _NamedTokenId()
    pad_token_id = _NamedTokenId()
    cls_token_id = _NamedTokenId()
    mask_token_id = _NamedTokenId()

    pad_token_type_id: int
    _named: dict[str, str]
    _extra: list[str]

    def _token_to_id(self, token: str) -> int | None:
        raise NotImplementedError

    def _id_to_token(self, index: int) -> str | None:
        raise NotImplementedError

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """See `Vocabulary.add_tokens`."""
        raise NotImplementedError

    def _name_token(self, name: str, token: str | AddedToken | None) -> None:
        if token is None:
            self._named.pop(name, None)
        else:
            self._named[name] = str(token)
            # the order of the map is part of a pickle, and so of the fingerprint that caches go by
            self._named = {key: self._named[key] for key in sorted(self._named, key=_rank)}

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Names of the special tokens (`"pad_token"`, ...) to the tokens."""
        return dict(self._named)

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens that have no name."""
        return list(self._extra)

    @extra_special_tokens.setter
    def extra_special_tokens(self, tokens: Sequence[str | AddedToken]) -> None:
        """Replaces them; the vocabulary stays as it is."""
        self._extra = [str(token) for token in tokens]

    @property
    def additional_special_tokens(self) -> list[str]:
        """The older name of `extra_special_tokens`."""
        return self.extra_special_tokens

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: the named ones in the order of their names, then the others."""
        return list(dict.fromkeys([*self._named.values(), *self._extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        ids = [self._token_to_id(token) for token in self.all_special_tokens]
        return [index for index in ids if index is not None]

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Name special tokens, adding those that the vocabulary lacks (the model must have as many embeddings).

        Args:
            special_tokens_dict: Any of the seven names (`"pad_token"`, ...) to a token, and `"extra_special_tokens"`
                to a list of tokens.
            replace_extra_special_tokens: Whether that list replaces the one so far, or goes behind it.

        Returns:
            How many tokens are new in the vocabulary.

        Raises:
            ValueError: If a name is not known or a value is not a token.
        """
        tokens: list[str | AddedToken] = []
        for name, value in special_tokens_dict.items():
            if name in ("extra_special_tokens", "additional_special_tokens"):
                tokens += self._add_extra(name, value, replace_extra_special_tokens)
            elif name in SPECIAL_TOKENS and isinstance(value, str | AddedToken):
                self._name_token(name, value)
                tokens.append(value)
            else:
                known = ", ".join((*SPECIAL_TOKENS, "extra_special_tokens"))
                raise ValueError(
                    f"{name}={value!r}: expected a token (str or AddedToken) under one of {known}: "
                    "give tokens without a name as extra_special_tokens=[...]"
                )
        return self.add_tokens([as_special(token) for token in tokens], special_tokens=True) if tokens else 0

    def _add_extra(self, name: str, value: Any, replace: bool) -> list[str | AddedToken]:
        if not isinstance(value, list | tuple) or not all(isinstance(token, str | AddedToken) for token in value):
            raise ValueError(f"{name}={value!r}: expected a list of tokens (str or AddedToken): put it in brackets")
        before = [] if replace and value else self._extra
        self._extra = list(dict.fromkeys([*before, *map(str, value)]))
        return list(value)


def as_special(token: str | AddedToken) -> AddedToken:
    """A token that no text is normalized into and that is never split."""
    return AddedToken(token, normalized=False, special=True) if isinstance(token, str) else token


def _rank(name: str) -> tuple[int, str]:
    return (SPECIAL_TOKENS.index(name), "") if name in SPECIAL_TOKENS else (len(SPECIAL_TOKENS), name)
