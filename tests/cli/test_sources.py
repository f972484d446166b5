from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from lt_trainer.cli.sources import REQUIRED, Parameter, parameters_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOURCE = '''
raise RuntimeError("this module must not be imported")

class Other:
    def __init__(self, nothing):
        ...

class Toy(Other):
    """A toy.

    Args:
        model: a name
            or a folder.
        size: how large: in rows.

    Raises:
        error: never.
    """

    def helper(self, a, b): ...

    def __init__(self, model: str | None, /, size=3, *, names: list[str] = ["a"], rate: float = 1e-3,
                 made=list(), flag: bool) -> None:
        ...

class Small(Toy):
    """A small toy.

    Args:
        size: how small.
        settings: of Toy.
    """

    def __init__(self, size: int = 1, **settings) -> None:
        ...

class Smallest(Small):
    pass
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Parameter]:
    (tmp_path / "toy_of_sources.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return parameters_of("toy_of_sources", "Toy")


def test_arguments_come_in_their_order_without_self(toy: Mapping[str, Parameter]) -> None:
    assert [*toy] == ["model", "size", "names", "rate", "made", "flag"]


def test_the_module_is_not_imported(toy: Mapping[str, Parameter]) -> None:
    assert "toy_of_sources" not in sys.modules


def test_defaults_are_values(toy: Mapping[str, Parameter]) -> None:
    assert (toy["size"].default, toy["names"].default, toy["rate"].default) == (3, ["a"], 1e-3)


def test_a_default_that_is_no_literal_is_none(toy: Mapping[str, Parameter]) -> None:
    assert toy["made"].default is None


def test_arguments_without_a_default_are_required(toy: Mapping[str, Parameter]) -> None:
    assert [name for name, parameter in toy.items() if parameter.default is REQUIRED] == ["model", "flag"]


def test_annotations_are_text_and_any_where_there_is_none(toy: Mapping[str, Parameter]) -> None:
    assert toy["model"].kinds == ["str", "None"]
    assert toy["size"].annotation == "Any"


def test_meanings_come_from_the_args_section_alone(toy: Mapping[str, Parameter]) -> None:
    assert {name: parameter.help for name, parameter in toy.items() if parameter.help} == {
        "model": "a name or a folder.",
        "size": "how large: in rows.",
    }


def test_arguments_that_are_handed_on_are_those_of_the_base(toy: Mapping[str, Parameter]) -> None:
    small = parameters_of("toy_of_sources", "Small")
    assert [*small] == ["size", "model", "names", "rate", "made", "flag"]
    assert (small["size"].help, small["size"].default) == ("how small.", 1)
    assert small["model"] == toy["model"]
    assert parameters_of("toy_of_sources", "Smallest") == small


def test_a_base_is_found_where_it_is_imported_from() -> None:
    data = parameters_of("lt_trainer.tasks.causal_lm", "CausalLMData")
    assert data["text_column"].help == "column of a text."  # of LanguageData
    assert data["cache_dir"].help.startswith("where tokenized rows are kept")  # of TaskData


def test_a_file_inside_a_package_is_read() -> None:
    assert "max_epochs" in parameters_of("lightning", "pytorch/trainer/trainer.py", "Trainer")


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package is not installed"):
        parameters_of("no_such_package", "Toy")
