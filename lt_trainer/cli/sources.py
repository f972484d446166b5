"""The arguments of a class, read from its source by `ast`: importing it would import torch and Lightning."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED = object()


@dataclass(frozen=True)
class Parameter:
    """Something that can be set: its annotation as text, its default (REQUIRED where there is none), its meaning."""

    name: str
    annotation: str
    default: Any = REQUIRED
    help: str = ""

    @property
    def kinds(self) -> list[str]:
        """The alternatives of the annotation."""
        return self.annotation.split(" | ")


@cache
def parameters_of(module: str, *rest: str) -> Mapping[str, Parameter]:
    """The arguments of a class, read from its source.

    Args:
        module: a module that is cheap to find (its parents are imported, it is not); with `rest` of two parts, a
            package and a path inside it.
        rest: (path inside the package, class name), or the class name alone.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is not installed: pip install {module.partition('.')[0]}")
    path = Path(spec.origin).parent / rest[0] if len(rest) == 2 else Path(spec.origin)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == rest[-1])
    functions = [node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    if not functions:
        return _inherited(tree, found, module)
    meanings = _meanings(ast.get_docstring(found) or "")
    arguments = functions[0].args
    ordered = [*arguments.posonlyargs, *arguments.args][1:]
    defaults: list[ast.expr | None] = [*arguments.defaults]
    pairs = [*zip(ordered, [None] * (len(ordered) - len(defaults)) + defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    own = {a.arg: _parameter(a, default, meanings.get(a.arg, "")) for a, default in pairs}
    inherited = _inherited(tree, found, module) if arguments.kwarg is not None else {}
    return own | {name: parameter for name, parameter in inherited.items() if name not in own}


def _inherited(tree: ast.Module, found: ast.ClassDef, module: str) -> Mapping[str, Parameter]:
    """The arguments of the first base that is written here or imported by name: what `**settings` hands on."""
    bases = [base.id for base in found.bases if isinstance(base, ast.Name)]
    homes = {node.name: module for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            homes |= {alias.name: node.module for alias in node.names}
    base = next((base for base in bases if base in homes), None)
    return {} if base is None else parameters_of(homes[base], base)


def _parameter(argument: ast.arg, default: ast.expr | None, meaning: str) -> Parameter:
    annotation = "Any" if argument.annotation is None else ast.unparse(argument.annotation)
    try:
        value = REQUIRED if default is None else ast.literal_eval(default)
    except ValueError:
        value = None
    return Parameter(argument.arg, annotation, value, meaning)


def _meanings(docstring: str) -> dict[str, str]:
    """The names and texts of the Args section of a Google docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Args:\n")[2].splitlines():
        if not line.strip() or not line.startswith("    "):
            break
        if not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        else:
            found[name] += f" {line.strip()}"
    return found
