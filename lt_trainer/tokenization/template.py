"""The special tokens that stand around a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tokenizers import processors

from lt_trainer.tokenization.decoding import Decoder

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


class Layout(NamedTuple):
    """Special tokens before, between and behind the texts, each as (ids, type ids), and the types of the texts."""

    before: tuple[list[int], list[int]]
    between: tuple[list[int], list[int]]
    behind: tuple[list[int], list[int]]
    types: tuple[int, int]


class Template(Decoder):
    """Building rows from ids that are there already."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text (or a pair) gets."""
        return self._tokenizer.num_special_tokens_to_add(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of one or two texts with the special tokens around them."""
        layout = self._layout(token_ids_1 is not None)
        return [*layout.before[0], *token_ids_0, *layout.between[0], *(token_ids_1 or []), *layout.behind[0]]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token type ids of `build_inputs_with_special_tokens` with the same arguments."""
        layout = self._layout(token_ids_1 is not None)
        row = [*layout.before[1], *[layout.types[0]] * len(token_ids_0), *layout.between[1]]
        return [*row, *[layout.types[1]] * len(token_ids_1 or []), *layout.behind[1]]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for special tokens, 0 for the rest.

        Args:
            token_ids_0: Ids of the first text, or of a whole row.
            token_ids_1: Ids of the second text; None with `already_has_special_tokens`.
            already_has_special_tokens: Whether `token_ids_0` is a whole row; what is special then stands in
                `all_special_ids`.
        """
        if not already_has_special_tokens:
            layout = self._layout(token_ids_1 is not None)
            row = [1] * len(layout.before[0]) + [0] * len(token_ids_0) + [1] * len(layout.between[0])
            return row + [0] * len(token_ids_1 or []) + [1] * len(layout.behind[0])
        if token_ids_1 is not None:
            raise ValueError(
                f"token_ids_1 (of {len(token_ids_1)} ids) with already_has_special_tokens=True: expected None: "
                "pass the whole row as token_ids_0"
            )
        special = set(self.all_special_ids)
        return [int(index in special) for index in map(int, token_ids_0)]

    def _layout(self, pair: bool) -> Layout:
        with self._lock:
            self._clear_limits()
            row = self._tokenizer.encode("a", "a" if pair else None)
        owners = row.sequence_ids
        first = [place for place, owner in enumerate(owners) if owner == 0]
        second = [place for place, owner in enumerate(owners) if owner == 1]
        if not first or (pair and not second):
            raise ValueError(
                f"the tokenizer makes {row.tokens} of 'a', no token of the text, so where its special tokens go is not "
                "known: put them around the ids yourself"
            )
        end = second[-1] + 1 if pair else first[-1] + 1
        between = (first[-1] + 1, second[0]) if pair else (end, end)
        types = (row.type_ids[first[0]], row.type_ids[second[0]] if pair else 0)
        return Layout(_part(row, 0, first[0]), _part(row, *between), _part(row, end, len(row)), types)


def _part(row: Encoding, start: int, end: int) -> tuple[list[int], list[int]]:
    return row.ids[start:end], row.type_ids[start:end]


def set_template(backend: Tokenizer, first: str | None, last: str | None) -> None:
    """Put a token before and behind each text, or neither.

    Raises:
        ValueError: If the vocabulary lacks one.
    """
    tokens = []
    for token in dict.fromkeys(token for token in (first, last) if token is not None):
        index = backend.token_to_id(token)
        if index is None:
            raise ValueError(
                f"the vocabulary has no token {token!r} to put around texts; add it first, "
                f"tokenizer.add_tokens([{token!r}], special_tokens=True)"
            )
        tokens.append((token, index))

    def around(name: str, kind: int) -> list[str]:
        begin, end = ([] if token is None else [f"{token}:{kind}"] for token in (first, last))
        return [*begin, f"${name}:{kind}", *end]

    backend.post_processor = processors.TemplateProcessing(
        single=around("A", 0), pair=around("A", 0) + around("B", 1), special_tokens=tokens
    )
