"""What the parity tests of all families share: quiet `transformers`, a folder of the module's own family, its heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import families

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers = pytest.importorskip("transformers")
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Write:
    """Writes a tiny model of the test module's CONFIG with its SETTINGS, and others where they are given."""
    transformers = pytest.importorskip("transformers")
    module = request.module

    def build(head: str | None = module.PRETRAINED, **settings: Any) -> Path:
        config = getattr(transformers, module.CONFIG)(**{**module.SETTINGS, **settings})
        return families.write(tmp_path / "tiny", config, head)

    return build


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`head` runs over the HEADS of the test module, `any_head` over the bare model too."""
    heads = getattr(metafunc.module, "HEADS", None)
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in str(mark.args[0]).split(",")}
    if "head" in metafunc.fixturenames and "head" not in marked and heads:
        metafunc.parametrize("head", heads)
    if "any_head" in metafunc.fixturenames:
        metafunc.parametrize("any_head", [None, *heads])
