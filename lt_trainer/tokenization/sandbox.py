"""A stranger's chat template, run in Jinja's sandbox within bounds of steps, time, numbers and text.

The sandbox keeps a template from Python's insides and from changing what it is given. It does not keep one from
running or growing without end: a nested loop, a macro that calls itself twice, `"a" * 10**12`. Each turn of a loop and
each call is a step here, and a text is measured before it is made where it could grow by a factor.
"""

from __future__ import annotations

import functools
import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2.parser import Parser
    from jinja2.runtime import Context

MAX_TEMPLATE = 1 << 20
"""Characters of a template; long public ones have 20 thousand."""
MAX_STEPS = 200_000
"""Turns of loops and calls; a chat of a thousand messages takes some ten thousand."""
MAX_SECONDS = 20.0
MAX_TEXT = 1 << 24
"""Characters of a text, or items of a list, that a template makes."""
MAX_NUMBER = 1_000_000
"""Of an argument, such as the width of a column."""
_MAX_BITS = 4096
_WIDTH = re.compile(r"\d{5,}|\*")
_BUDGET = "_budget"


class Budget:
    """What a rendering may still do, and how far it has come."""

    def __init__(self) -> None:
        self.steps = 0
        self.until = time.monotonic() + MAX_SECONDS
        self.length = 0
        self.spans: list[tuple[int, int]] = []

    def spend(self) -> None:
        """One step."""
        self.steps += 1
        if self.steps > MAX_STEPS or time.monotonic() > self.until:
            raise SecurityError(f"runs for more than {MAX_STEPS} steps or {MAX_SECONDS:.0f} seconds")


def render(source: str, variables: Mapping[str, Any]) -> tuple[str, list[tuple[int, int]]]:
    """Renders a template.

    Args:
        source: Jinja, with the further tag `generation` around what a model is to write.
        variables: plain data.

    Returns:
        The text, and where in it the parts inside `generation` begin and end.

    Raises:
        ValueError: the template is broken, refuses the chat (`raise_exception`), or passes a bound.
    """
    budget, parts = Budget(), []
    try:
        template = _compiled(source)
        for part in template.root_render_func(template.new_context({**variables, _BUDGET: budget})):
            parts.append(part)
            budget.length += len(part)
            _measured(budget.length)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"the chat template cannot be applied ({type(error).__name__}: {error}): correct the messages, or pass "
            "another chat_template"
        ) from error
    return "".join(parts), budget.spans


@functools.lru_cache(maxsize=32)
def _compiled(source: str) -> Any:
    if len(source) > MAX_TEMPLATE:
        raise SecurityError(f"has {len(source)} characters, expected at most {MAX_TEMPLATE}")
    return _Environment().from_string(source)


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: what a model is to write."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> nodes.Node:
        """The body as a block whose place in the output is noted."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_noted", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _noted(self, context: Context, caller: Callable[[], str]) -> str:
        budget, text = context.parent[_BUDGET], caller()
        budget.spans.append((budget.length, budget.length + len(text)))
        return text


class _Counted(NodeTransformer):
    """Makes each turn of a loop a call, which is counted, and each `~` one that is measured."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        step = nodes.Call(nodes.EnvironmentAttribute("turn"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(step).set_lineno(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None).set_lineno(node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.filters["tojson"] = _to_json
        self.filters = {name: _bounded(name, function) for name, function in self.filters.items()}
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now, "namespace": _Namespace}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return template

    def turn(self) -> None:
        """Called at each turn of a loop; what counts is the call."""

    def joined(self, *parts: Any) -> str:
        """`a ~ b`."""
        texts = [str(part) for part in parts]
        _measured(sum(map(len, texts)))
        return "".join(texts)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A step; arguments, and texts that methods make longer, are measured."""
        __context.parent[_BUDGET].spend()
        _check_numbers(*args, *kwargs.values())
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_method(owner, __obj.__name__, args)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`"...".format`, which must not make a text of any width."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`+`, `*`, `**` and `%` as long as the result is of a sane size."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "*":
            _measured(_size(left) * right if isinstance(right, int) and _size(left) else 0)
            _measured(_size(right) * left if isinstance(left, int) and _size(right) else 0)
        elif operator == "+":
            _measured(_size(left) + _size(right))
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_BITS:
                raise SecurityError(f"makes a number of {bits} bits, expected at most {_MAX_BITS}")
        return super().call_binop(context, operator, left, right)


class _Namespace(Namespace):
    """Jinja's, without names that lead into Python."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"sets {name!r} on a namespace, expected a name without a leading underscore")
        super().__setitem__(name, value)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose numbers and results are measured."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        _check_numbers(*args, *kwargs.values())
        if name == "format":
            _check_format(str(args[0]))
        if name == "join":
            args = tuple(list(x) if hasattr(x, "__next__") else x for x in args)
            _measured(sum(_size(item) for x in args if isinstance(x, list | tuple) for item in x))
        if name == "replace":
            texts = [x for x in args if isinstance(x, str)]
            _check_method(texts[0], "replace", tuple(texts[1:]))
        return _checked(function(*args, **kwargs))

    return run


def _check_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    """What a method of a text makes of it, before it makes it."""
    if name == "replace" and len(args) > 1 and isinstance(args[0], str):
        _measured(len(text) + text.count(args[0]) * len(str(args[1])))
    elif name == "join" and args and isinstance(args[0], list | tuple):
        _measured(sum(_size(item) + len(text) for item in args[0]))


def _check_numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise SecurityError(f"passes the number {value}, expected at most {MAX_NUMBER}")


def _check_format(text: str) -> None:
    if found := _WIDTH.search(text):
        raise SecurityError(f"formats with the width {found[0]!r}, expected at most four digits")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _measured(size: int) -> None:
    if size > MAX_TEXT:
        raise SecurityError(f"makes a text or a list of {size}, expected at most {MAX_TEXT}")


def _checked(value: Any) -> Any:
    _measured(_size(value))
    return value


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models read it: Jinja's own escapes what HTML would take for a tag."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
