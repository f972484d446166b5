"""A small problem to learn and a way to call the command line in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from lt_trainer.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def lt_trainer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command line; returns exit code, standard output and standard error."""

    def run(*argv: object) -> Answer:
        capsys.readouterr()
        code = main([str(token) for token in argv])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Path]:
    """Files of rows: train and dev with labels, new without."""
    texts = [("a good and funny movie", "pos"), ("bad dull slow plot", "neg"), ("great story", "pos"), ("slow", "neg")]
    found = {name: tmp_path / f"{name}.csv" for name in ("train", "dev", "new")}
    for name, repeats in (("train", 4), ("dev", 1)):
        lines = [f"{text},{label}" for text, label in texts * repeats]
        found[name].write_text("\n".join(["text,label", *lines]) + "\n")
    found["new"].write_text("\n".join(["text", *(text for text, _ in texts)]) + "\n")
    return found
