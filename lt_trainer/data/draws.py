"""What random draws of the data go by: seed, epoch and step, never the state of a generator that a resume would lose.

A loader says, while it reads a window, which one that is; what draws for a batch goes by `window_seed`, and what draws
for a row by `epoch_seed` and the row's number: then it does not matter which rows are in one batch, or on which rank.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

_seeds: ContextVar[tuple[int, int] | None] = ContextVar("seeds", default=None)


@contextmanager
def drawing(window: int, epoch: int) -> Iterator[None]:
    """Names the two seeds for what is read inside.

    Args:
        window: of seed, epoch, step and rank.
        epoch: of seed and epoch.
    """
    before = _seeds.set((window, epoch))
    try:
        yield
    finally:
        _seeds.reset(before)


def window_seed() -> int | None:
    """The seed of the window that is being read; None outside of a loader."""
    seeds = _seeds.get()
    return None if seeds is None else seeds[0]


def epoch_seed() -> int | None:
    """The seed of the epoch that is being read; None outside of a loader."""
    seeds = _seeds.get()
    return None if seeds is None else seeds[1]


def pick(rng: random.Random, choices: Sequence[T]) -> T:
    """Like `rng.choice`, from `rng.random()`, whose sequence Python promises never to change."""
    return choices[int(rng.random() * len(choices))]
