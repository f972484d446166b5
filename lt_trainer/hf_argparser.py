"""`HfArgumentParser`: command lines, dicts and files become dataclasses, as scripts know it from `transformers`."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from lt_trainer.args.check import SWITCHES, near
from lt_trainer.args.former import FORMER, Named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from os import PathLike

WORDS = {**SWITCHES, "t": True, "y": True, "f": False, "n": False}


class HfArgumentParser(ArgumentParser):
    """An `argparse` parser whose options are the fields of dataclasses, `--field_name` or `--field-name`.

    Values that nobody gave stay with the dataclass, so its defaults stand there alone. TrainingArguments read their
    values themselves and take former names too (`--evaluation_strategy`).

    Args:
        dataclass_types: a dataclass or several; each parse returns one instance of each.
        kwargs: of `argparse.ArgumentParser`.
    """

    def __init__(self, dataclass_types: type | Iterable[type] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataclass_types = [dataclass_types] if isinstance(dataclass_types, type) else list(dataclass_types)
        for cls in self.dataclass_types:
            self._add_fields(cls)
        if any(isinstance(cls, Named) for cls in self.dataclass_types):
            for name in FORMER:
                if f"--{name}" not in self._option_string_actions:
                    self.add_argument(*_options(name), default=SUPPRESS, help=SUPPRESS, nargs="?", const=True)

    def _add_fields(self, cls: type) -> None:
        reads_itself = isinstance(cls, Named)
        hints = {} if reads_itself else get_type_hints(cls)
        name = getattr(cls, "_argument_group_name", None)
        group = self.add_argument_group(name) if name else self
        for f in dataclasses.fields(cls):
            if not f.init:
                continue
            kind = _kind_of_text(str(f.type)) if reads_itself else hints[f.name]
            settings, is_switch = _settings(kind)
            aliases = f.metadata.get("aliases", [])
            options = [*_options(f.name), *([aliases] if isinstance(aliases, str) else aliases)]
            missing = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            default = f.default if f.default is not dataclasses.MISSING else f.default_factory
            text = f"{f.metadata.get('help', '')} (default: {getattr(default, 'value', default)})".replace("%", "%%")
            choices = {"choices": f.metadata["choices"]} if "choices" in f.metadata else {}
            group.add_argument(
                *options, dest=f.name, default=SUPPRESS, required=missing, help=text, **{**settings, **choices}
            )
            if is_switch and f.default is True:
                group.add_argument(
                    *_options(f"no_{f.name}"), dest=f.name, action="store_false", default=SUPPRESS, help=SUPPRESS
                )

    def parse_args_into_dataclasses(
        self,
        args: Sequence[str] | None = None,
        return_remaining_strings: bool = False,
        look_for_args_file: bool = True,
        args_filename: str | None = None,
        args_file_flag: str | None = None,
    ) -> tuple[Any, ...]:
        """One instance of each dataclass, then a namespace of options added by hand, where there are any.

        Args:
            args: the command line; None: of this process.
            return_remaining_strings: also returns what no option took, as a list at the end.
            look_for_args_file: takes options from a file beside the script, `script.args` for `script.py`, where it is.
            args_filename: takes options from this file.
            args_file_flag: name of an option that gives such files.

        Raises:
            ValueError: words that no option took.
        """
        line = list(sys.argv[1:] if args is None else args)
        files = [args_filename] if args_filename else []
        if not files and look_for_args_file and sys.argv:
            files = [str(Path(sys.argv[0]).with_suffix(".args"))]
        if args_file_flag:
            flags = ArgumentParser(add_help=False)
            flags.add_argument(args_file_flag, action="append", dest="files", default=[])
            found, line = flags.parse_known_args(line)
            files += found.files
        words = [word for file in files if Path(file).is_file() for word in Path(file).read_text().split()]
        namespace, rest = self.parse_known_args(words + line)  # the line wins
        outputs = self._build(vars(namespace))
        if vars(namespace):
            outputs = (*outputs, namespace)
        if return_remaining_strings:
            return (*outputs, rest)
        if rest:
            hint = near(rest[0].lstrip("-").replace("-", "_"), self._names())
            raise ValueError(f"these words of the command line mean nothing here: {rest}{hint}")
        return outputs

    def parse_dict(self, args: Mapping[str, Any], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """One instance of each dataclass from a dict.

        Raises:
            ValueError: keys that no dataclass has, unless `allow_extra_keys`.
        """
        left = dict(args)
        outputs = self._build(left)
        if left and not allow_extra_keys:
            raise ValueError(f"these keys mean nothing here: {sorted(left)}{near(min(left), self._names())}")
        return outputs

    def parse_json_file(self, json_file: str | PathLike[str], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """As `parse_dict`, from a JSON file."""
        return self.parse_dict(json.loads(Path(json_file).read_text(encoding="utf-8")), allow_extra_keys)

    def parse_yaml_file(self, yaml_file: str | PathLike[str], allow_extra_keys: bool = False) -> tuple[Any, ...]:
        """As `parse_dict`, from a YAML file."""
        import yaml

        return self.parse_dict(yaml.safe_load(Path(yaml_file).read_text(encoding="utf-8")), allow_extra_keys)

    def _build(self, given: dict[str, Any]) -> tuple[Any, ...]:
        """Takes from `given` what belongs to the dataclasses."""
        outputs = []
        for cls in self.dataclass_types:
            names = {f.name for f in dataclasses.fields(cls) if f.init} | (set(FORMER) & _former(cls))
            outputs.append(cls(**{name: given.pop(name) for name in [*given] if name in names}))
        return tuple(outputs)

    def _names(self) -> set[str]:
        return {f.name for cls in self.dataclass_types for f in dataclasses.fields(cls)}


def _former(cls: type) -> set[str]:
    return set(FORMER) if isinstance(cls, Named) else set()


def _options(name: str) -> list[str]:
    return [f"--{name}", f"--{name.replace('_', '-')}"] if "_" in name else [f"--{name}"]


def _kind_of_text(annotation: str) -> Any:
    """A switch may stand alone, a list takes several words; everything else the arguments read from text."""
    kinds = annotation.split(" | ")
    return list[str] if "list[str]" in kinds else Switch if "bool" in kinds else str


class Switch:
    """A value that may stand alone, meaning True; its text is read by whoever gets it."""


def _settings(kind: Any) -> tuple[dict[str, Any], bool]:
    """What `add_argument` takes for a type, and whether the type is a switch."""
    members = [m for m in get_args(kind) if m is not types.NoneType]
    if get_origin(kind) in (Union, types.UnionType):
        if bool in members:
            return {"type": _any_of([bool, *members]), "nargs": "?", "const": True}, True
        return _settings(members[0]) if len(members) == 1 else ({"type": _any_of(members)}, False)
    if kind in (bool, Switch):
        return {"type": _switch if kind is bool else str, "nargs": "?", "const": True}, True
    if get_origin(kind) is list or kind is list:
        return {"type": _reader(members[0]) if members else str, "nargs": "+"}, False
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        values = list(get_args(kind)) or [member.value for member in kind]
        return {"type": _one_of(values), "choices": values}, False
    return {"type": _reader(kind)}, False


def _reader(kind: Any) -> Callable[[str], Any]:
    if kind is bool:
        return _switch
    if kind is dict or get_origin(kind) is dict:
        return json.loads
    return kind if isinstance(kind, type) else str


def _switch(text: str) -> bool:
    if text.lower() not in WORDS:
        raise ArgumentTypeError(f"expected yes or no, true or false, 1 or 0, received {text!r}")
    return WORDS[text.lower()]


def _one_of(values: list[Any]) -> Callable[[str], Any]:
    by_text = {str(value): value for value in values}
    return lambda text: by_text.get(text, text)


def _any_of(kinds: list[Any]) -> Callable[[str], Any]:
    """The first kind that reads the text; text itself comes last."""

    def read(text: str) -> Any:
        for reader in [_reader(kind) for kind in kinds if kind is not str]:
            try:
                return reader(text)
            except (ValueError, TypeError, ArgumentTypeError):
                continue
        if str in kinds:
            return text
        raise ArgumentTypeError(f"expected one of {kinds}, received {text!r}")

    return read
