from __future__ import annotations

import inspect
from typing import Any

from lt_trainer.signatures import ListsSettings


class Base(ListsSettings):
    def __init__(self, model: str, *, rate: float = 0.5, seed: int = 1) -> None: ...


class Middle(Base):
    def __init__(self, model: str, *, names: list[str], seed: int = 2, **settings: Any) -> None: ...


class Mixin:
    pass


def listed(cls: Any) -> list[str]:
    return [str(parameter).replace("'", "") for parameter in inspect.signature(cls).parameters.values()]


def test_what_is_handed_on_stands_behind_the_classs_own_which_win() -> None:
    assert listed(Middle) == ["model: str", "names: list[str]", "seed: int = 2", "rate: float = 0.5"]


def test_a_class_that_hands_nothing_on_lists_its_own() -> None:
    class Closed(Middle):
        def __init__(self, size: int) -> None: ...

    assert listed(Closed) == ["size: int"]


def test_a_class_without_an_init_of_its_own_is_as_its_base() -> None:
    class Same(Mixin, Middle):
        pass

    assert listed(Same) == listed(Middle)


def test_positional_arguments_of_the_base_become_keywords() -> None:
    class Named(Middle):
        def __init__(self, size: int = 3, *rest: int, **settings: Any) -> None: ...

    parameters = inspect.signature(Named).parameters
    assert [*parameters] == ["size", "rest", "model", "names", "seed", "rate"]
    assert parameters["model"].kind is inspect.Parameter.KEYWORD_ONLY


def test_settings_that_go_further_than_the_base_stay() -> None:
    class Open(ListsSettings):
        def __init__(self, **anything: Any) -> None: ...

    class Derived(Open):
        def __init__(self, size: int, **settings: Any) -> None: ...

    assert listed(Derived) == ["size: int", "**anything: Any"]
