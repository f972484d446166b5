"""Which tokens a masked language model has to guess, and what stands in their place.

Dimension letters: B rows, T padded length; a leading B may be absent.

Source: Devlin et al., "BERT", 2018, section 3.1; whole words: https://github.com/google-research/bert (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

IGNORED_LABEL = -100


class Draws(Protocol):
    """Where random numbers come from; the order of the calls is part of what is drawn."""

    def chance(self, share: NDArray[np.float64]) -> NDArray[np.bool_]:
        """True with the probability that stands in `share`."""

    def tokens(self, vocab_size: int, where: NDArray[np.bool_]) -> NDArray[np.int64]:
        """An id from 0 to `vocab_size` - 1 for each True of `where`."""


class TorchDraws:
    """Draws of torch, equal to those that `transformers` makes for `return_tensors="pt"`.

    Args:
        generator: None is torch's global one.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def chance(self, share: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See Draws."""
        drawn = torch.bernoulli(torch.from_numpy(share.astype(np.float32)), generator=self.generator)
        hits: NDArray[np.bool_] = drawn.bool().numpy()
        return hits

    def tokens(self, vocab_size: int, where: NDArray[np.bool_]) -> NDArray[np.int64]:
        """See Draws; as many are drawn as there are places."""
        ids: NDArray[np.int64] = torch.randint(vocab_size, where.shape, generator=self.generator).numpy()[where]
        return ids


class NumpyDraws:
    """Draws of numpy, equal to those that `transformers` makes for `return_tensors="np"`.

    Args:
        generator: None is numpy's global one.
    """

    def __init__(self, generator: np.random.Generator | None = None) -> None:
        self.generator = generator

    def chance(self, share: NDArray[np.float64]) -> NDArray[np.bool_]:
        """See Draws."""
        binomial = np.random.binomial if self.generator is None else self.generator.binomial
        hits: NDArray[np.bool_] = np.asarray(binomial(1, share)).astype(bool)
        return hits

    def tokens(self, vocab_size: int, where: NDArray[np.bool_]) -> NDArray[np.int64]:
        """See Draws."""
        count = int(np.count_nonzero(where))
        if self.generator is None:
            return np.random.randint(0, vocab_size, size=count, dtype=np.int64)
        return self.generator.integers(0, vocab_size, size=count, dtype=np.int64)


@dataclass(frozen=True)
class Masking:
    """How much is guessed, and what the model reads there.

    Attributes:
        share: of the tokens (or words) that are guessed, 0 to 1.
        mask_share: of those, how many are replaced by the mask token.
        random_share: of those, how many are replaced by any token of the vocabulary; the rest stays as it is.
        mask_id: the mask token's id.
        vocab_size: ids below it may replace a token.
    """

    share: float
    mask_share: float
    random_share: float
    mask_id: int
    vocab_size: int

    def apply(
        self,
        ids: NDArray[np.int64],
        special: NDArray[np.bool_],
        draws: Draws,
        starts: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draws what is guessed.

        Args:
            ids: [B, T] or [T].
            special: True = never guessed: special tokens and padding.
            draws: see Draws.
            starts: True = a word begins, see `word_starts`: whole words are then guessed; None guesses tokens.

        Returns:
            (what the model reads, labels): copies; a label is the token itself where it is guessed, else -100.
        """
        chosen = draws.chance(np.where(special if starts is None else ~starts, 0.0, self.share))
        if starts is not None:
            chosen = _whole(chosen, starts) & ~special
        hidden = draws.chance(np.full(ids.shape, self.mask_share)) & chosen
        inputs, labels = np.where(hidden, self.mask_id, ids), np.where(chosen, ids, IGNORED_LABEL)
        if self.mask_share < 1 and self.random_share > 0:
            share = min(self.random_share / (1 - self.mask_share), 1.0)  # of what is left
            other = draws.chance(np.full(ids.shape, share)) & chosen & ~hidden
            inputs[other] = draws.tokens(self.vocab_size, other)
        return inputs, labels


def word_starts(offsets: NDArray[np.int64], special: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where words begin: behind a gap in the text, or behind a special token.

    Args:
        offsets: characters of each token, [B, T, 2] or [T, 2]: `return_offsets_mapping=True`.
        special: True = special token or padding, without the last dimension.
    """
    starts: NDArray[np.bool_] = ~special
    starts[..., 1:] &= (offsets[..., 1:, 0] != offsets[..., :-1, 1]) | special[..., :-1]
    return starts


def _whole(chosen: NDArray[np.bool_], starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What was chosen at the first token of a word, at all of its tokens."""
    place = np.where(starts, np.arange(starts.shape[-1]), 0)
    return np.take_along_axis(chosen, np.maximum.accumulate(place, axis=-1), axis=-1)
