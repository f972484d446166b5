from __future__ import annotations

from typing import Any

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli.line import scan
from lt_trainer.cli.names import Names, Place
from lt_trainer.cli.sources import Parameter
from lt_trainer.cli.values import of_option, scalar, typed
from lt_trainer.tasks.registry import TASKS


@pytest.fixture(scope="module")
def names() -> Names:
    return Names(TASKS["text-classification"])


def read(names: Names, *argv: str) -> tuple[str, Any]:
    (option,) = scan(argv).options
    place, value = of_option(option, names)
    return f"{place.section}.{place.parameter.name}", value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-1", -1),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ('[1, "a"]', [1, "a"]),
        ('{"a": {"b": 2}}', {"a": {"b": 2}}),
        ("[1", "[1"),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("yes", "yes"),
    ],
)
def test_text_is_read_as_what_it_looks_like(text: str, value: Any) -> None:
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--bf16"], "args.bf16", True),
        (["--no_bf16"], "args.bf16", False),
        (["--no-bf16"], "args.bf16", False),
        (["--bf16", "false"], "args.bf16", False),
        (["--run_name", "7"], "args.run_name", "7"),  # text stays text
        (["--label_names", "a", "b"], "args.label_names", ["a", "b"]),
        (["--label_names", "a"], "args.label_names", "a"),
        (["--model", "bert"], "model.model", "bert"),
        (["--trainer.detect_anomaly"], "trainer.detect_anomaly", True),
        (["--lr_scheduler_kwargs.num_cycles", "3"], "args.lr_scheduler_kwargs", 3),
    ],
)
def test_an_option_leads_to_a_place_and_a_value(names: Names, argv: list[str], name: str, value: Any) -> None:
    assert read(names, *argv) == (name, value)


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--no_bf16", "1"], "--no_bf16 1: takes no value"),
        (["--no_seed"], "--no_seed: no such name"),
        (["--seed"], "--seed: expected a value after it"),
        (["--run_name", "my", "run"], "--run_name my run: expected one value; quote one that has blanks"),
        (["--leraning_rate", "1"], "--leraning_rate: no such name; did you mean 'learning_rate'?"),
    ],
)
def test_an_option_that_cannot_be_read_is_told_as_it_was_typed(names: Names, argv: list[str], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(names, *argv)
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("int | None", "None", None),
        ("int | None", None, None),
        ("str | None", "null", None),
        ("str", "None", "None"),
        ("int", "1e3", 1000),
        ("float", "2e-5", 2e-5),
        ("bool", "no", False),
        ("Any", {"a": 1}, {"a": 1}),
        ("Any", None, None),
    ],
)
def test_a_value_is_read_by_its_annotation(annotation: str, value: Any, expected: Any) -> None:
    found = typed(Place("args", Parameter("x", annotation)), value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("annotation", "value"), [("int", None), ("int", "many"), ("int", 0.5)])
def test_a_value_of_another_kind_is_refused_by_name(annotation: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"x=.*expected"):
        typed(Place("args", Parameter("x", annotation)), value)
