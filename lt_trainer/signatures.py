"""Signatures that list what `**settings` hands on, so that arguments shared by many classes are written once."""

from __future__ import annotations

import inspect
from typing import Any


class ListsSettings:
    """Of each class derived from it, `inspect.signature` (so help, notebooks and editors) lists inherited arguments.

    A class whose `__init__` ends in `**settings` hands them to that of its base; the names, types and defaults of the
    base stand in the signature in their place. What the class names itself stays as it says.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        named = dict([*inspect.signature(cls.__init__).parameters.items()][1:])
        base = next(base for base in cls.__mro__[1:] if "__init__" in vars(base))
        if base is not object and any(p.kind is p.VAR_KEYWORD for p in named.values()):
            named = {name: p for name, p in named.items() if p.kind is not p.VAR_KEYWORD}
            for name, parameter in inspect.signature(base).parameters.items():
                if parameter.kind is parameter.VAR_KEYWORD:
                    named.setdefault(name, parameter)
                elif parameter.kind is not parameter.VAR_POSITIONAL:
                    named.setdefault(name, parameter.replace(kind=parameter.KEYWORD_ONLY))
        cls.__signature__ = inspect.Signature([*named.values()])  # type: ignore[attr-defined]
