"""Errors of the Rust library as Python errors that a user can act on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lt_trainer.files.read import AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_panic(error: BaseException) -> bool:
    """Whether a Rust panic was raised: a BaseException that `except Exception` does not catch and no module exports."""
    return type(error).__name__ == "PanicException"


@contextmanager
def rust_errors(message: str) -> Iterator[None]:
    """Raise ValueError with `message` and the Rust text for whatever the library raises, panics included."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ValueError(f"{message}: {str(error).strip()}. {AGAIN}") from error
