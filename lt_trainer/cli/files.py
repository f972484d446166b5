"""Configuration files, YAML or JSON, as entries that know their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lt_trainer.args.check import ConfigurationError, near

SECTIONS = ("model", "data", "args", "trainer")
NESTED = ("search", "search.space")  # sections of one command, with a section inside
READY = Path(__file__).resolve().parents[1] / "configs"
MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Entry:
    """A value with its dotted name (`args.learning_rate`) and where it comes from (`run.yaml:4`, or an option)."""

    name: str
    value: Any
    origin: str


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes `2e-5` for text; people, JSON and YAML 1.2 take it for a number."""


_Loader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def find(name: str) -> Path:
    """A file by its path, or one of the ready configurations by its name.

    Raises:
        ConfigurationError: there is neither.
    """
    path, ready = Path(name).expanduser(), READY / f"{name}.yaml"
    if path.is_file() or not ready.is_file():
        return path
    return ready


def read(name: str) -> list[Entry]:
    """The entries of a file, sections flattened to dotted names; `init_args` vanishes, as on the command line.

    Raises:
        ConfigurationError: it is not there, or not a mapping in YAML or JSON; names the line.
    """
    path = find(name)
    loader = _Loader(_text(path, name))
    try:
        node = loader.get_single_node()
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            problem = f"{_at(name, node)}: expected `name: value` lines, received {node.tag[18:]}"
            raise ConfigurationError([f"{problem}; begin with a line such as `task: text-classification`"])
        return [entry for key, value in _items(loader, node, name) for entry in _entries(loader, key, value, name)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f":{mark.line + 1}"
        problem = f"{name}{line}: this is no YAML: {error.problem or error.context}"
        raise ConfigurationError(
            [f"{problem}; correct that line: `name: value`, sections indented by blanks"]
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError([f"{name}: this is no YAML: {error}; write it as UTF-8 text"]) from error
    except RecursionError:
        problem = f"{name}: nested too deep for a configuration: expected a section, a name and its value"
        raise ConfigurationError([f"{problem}; take out the inner levels"]) from None
    finally:
        loader.dispose()


def _text(path: Path, name: str) -> str:
    ready = sorted(file.stem for file in READY.glob("*.yaml"))
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            problem = f"{name}: expected a configuration file of {MAX_BYTES >> 20} MiB at most, received {size} bytes"
            raise ConfigurationError([f"{problem}; rows of data belong in --train_file"])
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problem = f"configuration file {name!r} is not there: expected a path, or a ready configuration: "
        raise ConfigurationError([f"{problem}{', '.join(ready)}{near(name, ready)}"]) from None
    except OSError as error:
        problem = f"configuration file {name!r} cannot be read: {error.strerror}"
        raise ConfigurationError([f"{problem}; name a file that you may read"]) from error
    except UnicodeDecodeError as error:
        problem = f"configuration file {name!r} is not UTF-8 text: {error.reason} at byte {error.start}"
        raise ConfigurationError([f"{problem}; save it as UTF-8"]) from error
    return text.replace("\t", "    ") if path.suffix == ".json" else text  # JSON may be indented by tabs, YAML not


def _items(loader: _Loader, node: yaml.MappingNode, file: str) -> list[tuple[yaml.Node, yaml.Node]]:
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problem = f"{_at(file, key)}: expected a name before the colon, received {key.tag[18:]}"
            raise ConfigurationError([f"{problem}; write `name: value`"])
        if key.value in seen:
            problem = f"{_at(file, key)}: {key.value!r} stands here again, first in line {_line(seen[key.value])}"
            raise ConfigurationError([f"{problem}; keep one"])
        seen[key.value] = key
    loader.flatten_mapping(node)  # merges of `<<` go in front, so that what stands here wins
    return list({key.value: (key, value) for key, value in node.value}.values())


def _entries(loader: _Loader, key: yaml.Node, node: yaml.Node, file: str, section: str = "") -> list[Entry]:
    name = f"{section}{key.value}"
    if name in NESTED or (not section and name in SECTIONS):
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_object(node)
            if value is None:
                return []
            if name == "model":  # `model: bert-base-uncased`
                return [Entry("model.model", str(value), _at(file, key))]
        return _section(loader, node, file, f"{name}.")
    if section in ("model.", "data.") and key.value == "init_args":
        return _section(loader, node, file, section)
    return [Entry(name, loader.construct_object(node, deep=True), _at(file, key))]


def _section(loader: _Loader, node: yaml.Node, file: str, section: str) -> list[Entry]:
    if not isinstance(node, yaml.MappingNode):
        problem = f"{_at(file, node)}: {section[:-1]}: expected `name: value` lines under it"
        received = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list"
        raise ConfigurationError([f"{problem}, received {received:.80}; indent them, one a line"])
    items = _items(loader, node, file)
    return [entry for key, value in items for entry in _entries(loader, key, value, file, section)]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _at(file: str, node: yaml.Node) -> str:
    return f"{file}:{_line(node)}"
