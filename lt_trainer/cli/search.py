"""The section `search:` of a configuration and its flat flags become `SearchOptions`, every problem with its line."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, near, read
from lt_trainer.cli.values import scalar
from lt_trainer.search_options import Draw, SearchOptions, Space, read_draw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lt_trainer.cli.files import Entry
    from lt_trainer.cli.line import Line, Option

SECTION = "search."
SPACE = "space."
FLAGS = tuple(f.name for f in fields(SearchOptions) if f.name != "space")


class SearchReader:
    """Reads entries of files, then options of the command line, which win; `problems` holds what is wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.draws: dict[str, Draw] = {}
        self._types = {f.name: str(f.type) for f in fields(SearchOptions)}

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """Adds what files say under `search:`."""
        for entry in entries:
            self._add(entry.name.removeprefix(SECTION), entry.value, f"{entry.origin}: {SECTION}")

    def add_options(self, options: Iterable[Option]) -> None:
        """Adds `--n_trials 20`, `--space.learning_rate 1e-5..1e-3 log`, and the same behind `--search.`."""
        for option in options:
            try:
                value = _value(option)
            except ConfigurationError as error:
                self.problems += error.problems
            else:
                self._add(option.name.removeprefix(SECTION), value, "--")

    def options(self) -> SearchOptions:
        """What was read; defaults stand for what could not be."""
        found = SearchOptions(**self.values, space=Space(self.draws) if self.draws else None)
        self.problems += [f"{self.origins.get(p.partition('=')[0], SECTION)}{p}" for p in found.problems()]
        return found

    def _add(self, name: str, value: Any, origin: str) -> None:
        self.origins[name] = origin
        try:
            if name.startswith(SPACE):
                self.draws[name.removeprefix(SPACE)] = read_draw(name.removeprefix(SPACE), value)
            elif name in FLAGS:
                kind = self._types[name]
                nothing = "None" in kind and value in ("None", "null")
                self.values[name] = None if nothing else read(name, kind, value)
            else:
                known = (*FLAGS, "space")
                problem = f"no such name{near(name, known)}; expected one of {', '.join(known)}"
                self.problems.append(f"{origin}{name}: {problem}")
        except ConfigurationError as error:
            before = f"{origin}{SPACE if name.startswith(SPACE) else ''}"
            self.problems += [f"{before}{problem}" for problem in error.problems]


def take_options(line: Line) -> list[Option]:
    """Removes from a line what belongs to a search, and returns it."""
    names = [option.name for option in line.options]
    return line.take(*(name for name in names if name in FLAGS or name.startswith((SECTION, SPACE))))


def _value(option: Option) -> Any:
    """Several values are choices, unless the first is a range."""
    name = option.name.removeprefix(SECTION)
    if not name.startswith(SPACE):
        if len(option.values) != 1:
            problem = f"{option.typed}: expected one value after it, received {len(option.values)}"
            raise ConfigurationError([f"{problem}; write {option.typed} VALUE"])
        return option.values[0]
    text = " ".join(option.values)
    if text.startswith(("{", "[")):
        return scalar(text)
    return text if ".." in text.split(" ")[0] else [scalar(value) for value in option.values]
