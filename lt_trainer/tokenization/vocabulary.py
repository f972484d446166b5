"""Tokens to ids and back, and the tokens that a user adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from tokenizers import AddedToken

from lt_trainer.tokenization.special import SpecialTokens
from lt_trainer.tokenization.tensors import as_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokenizers import Tokenizer


class Vocabulary(SpecialTokens):
    """The vocabulary of a tokenizer."""

    _tokenizer: Tokenizer

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True  # `if tokenizer:` asks whether there is one, not whether its vocabulary is empty

    @property
    def vocab_size(self) -> int:
        """Tokens of the model alone, without those that were added; `len(tokenizer)` counts both."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    def get_vocab(self) -> dict[str, int]:
        """Every token to its id, added ones included."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Ids to added tokens, in the order of the ids."""
        return dict(sorted(self._tokenizer.get_added_tokens_decoder().items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Added tokens to ids, in the order of the ids."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """The same as `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def _token_to_id(self, token: str) -> int | None:
        index = self._tokenizer.token_to_id(token)
        if index is None and (unknown := self._named.get("unk_token")) not in (None, token):
            index = self._tokenizer.token_to_id(unknown)
        return index

    def _id_to_token(self, index: int) -> str | None:
        return self._tokenizer.id_to_token(int(index))

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int | None]: ...
    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int | None] | None:
        """The id of a token, or the ids of tokens; an unknown one has the id of `unk_token`, or None without one."""
        return self._token_to_id(tokens) if isinstance(tokens, str) else [self._token_to_id(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = ...) -> str | None: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = ...) -> list[str | None]: ...
    def convert_ids_to_tokens(
        self, ids: int | Iterable[int], skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """The token of an id, or the tokens of ids (a list, an array or a tensor of one dimension)."""
        ids = as_lists(ids)
        if isinstance(ids, int):
            return self._id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._id_to_token(index) for index in map(int, ids) if index not in skipped]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that tokens stand for."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens behind the vocabulary; those that are there already are only marked as whole.

        Args:
            new_tokens: One or several.
            special_tokens: Whether `decode(..., skip_special_tokens=True)` leaves them out.

        Returns:
            How many are new. A model then needs `resize_token_embeddings(len(tokenizer))`.
        """
        tokens = [new_tokens] if isinstance(new_tokens, str | AddedToken) else list(new_tokens)
        if not tokens:
            return 0
        add = self._tokenizer.add_special_tokens if special_tokens else self._tokenizer.add_tokens
        return add(tokens)
