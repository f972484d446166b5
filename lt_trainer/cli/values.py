"""From what was typed to values: `--bf16`, `--no_x`, `--label_names a b`, `None`, `1e3`."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, read
from lt_trainer.cli.sources import Parameter

if TYPE_CHECKING:
    from lt_trainer.cli.line import Option
    from lt_trainer.cli.names import Names, Place

WORDS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}


def of_option(option: Option, names: Names) -> tuple[Place, Any]:
    """Where an option leads and the value that it gives.

    Raises:
        ConfigurationError: it leads nowhere (with the nearest name), or has too few or too many values.
    """
    place = names.find(option.name)
    if isinstance(place, str) and option.name.startswith("no_"):
        negated = names.find(option.name.removeprefix("no_"))
        if not isinstance(negated, str) and "bool" in negated.parameter.kinds:
            if option.values:
                raise ConfigurationError(
                    [f"{option.typed} {option.values[0]}: takes no value; write {option.typed} alone"]
                )
            return negated, False
    if isinstance(place, str):
        raise ConfigurationError([f"{option.typed}: {place.partition(': ')[2]}"])
    return place, _value(option, Parameter("", "Any") if place.inside else place.parameter)


def _value(option: Option, parameter: Parameter) -> Any:
    values = list(option.values)
    if {"list[str]", "list[float]"} & {*parameter.kinds} and values:
        return values[0] if len(values) == 1 else values
    if not values and ("bool" in parameter.kinds or parameter.annotation == "Any"):
        return True
    if not values:
        raise ConfigurationError([f"{option.typed}: expected a value after it; write {option.typed} VALUE"])
    if len(values) > 1:
        listed = " ".join(values)
        raise ConfigurationError([f"{option.typed} {listed}: expected one value; quote one that has blanks"])
    return values[0] if "str" in parameter.kinds else scalar(values[0])


def scalar(text: str) -> Any:
    """A number, a switch, None, a list or a dict in JSON; else the text."""
    if text in WORDS:
        return WORDS[text]
    for reader in (int, float) if text[:1] not in "[{" else (json.loads,):
        with suppress(ValueError):
            return reader(text)
    return text


def typed(place: Place, value: Any) -> Any:
    """A value as the parameter's annotation reads it.

    Raises:
        ConfigurationError: it cannot be read so.
    """
    parameter = place.parameter
    if "None" in parameter.kinds and (value is None or (isinstance(value, str) and value in ("None", "null"))):
        return None
    if value is None and parameter.annotation != "Any":
        raise ConfigurationError(
            [f"{parameter.name}=None: expected {parameter.annotation}; leave it out for its default, or give a value"]
        )
    return read(parameter.name, parameter.annotation, value)
