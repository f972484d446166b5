"""Checks of plain values: every problem of a configuration is found and told at once, near misses included."""

from __future__ import annotations

import json
import math
import os
from difflib import get_close_matches
from enum import Enum
from numbers import Integral
from typing import TYPE_CHECKING, Any

from lt_trainer.names import WATCHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lt_trainer.args.fields import TrainingArguments

RANGES: dict[str, Callable[[Any], bool]] = {
    "1 or more": lambda v: 1 <= v < math.inf,
    "0 or more": lambda v: 0 <= v < math.inf,
    "above 0": lambda v: 0 < v < math.inf,
    "0 to 1": lambda v: 0 <= v <= 1,
    "0 to below 1": lambda v: 0 <= v < 1,
    "0 to 2**32 - 1": lambda v: 0 <= v < 2**32,
    "-1 or more": lambda v: v >= -1,
    "-1, or 1 or more": lambda v: v == -1 or v >= 1,
    "a whole number of steps, or a share between 0 and 1": lambda v: 0 < v < 1 or (v >= 1 and v % 1 == 0),
}


class ConfigurationError(ValueError):
    """All problems of a configuration, each with what was received and what to do. `problems` holds them one by one."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return f"{len(self.problems)} problem(s) in the configuration:" + "".join(f"\n- {p}" for p in self.problems)


class UnknownArgumentError(ConfigurationError, TypeError):
    """A keyword that is no argument; a TypeError too, as Python's own would be."""


class MissingMetricError(ConfigurationError, KeyError):
    """`metric_for_best_model` is not what the evaluation gives; a KeyError too, as in `transformers`."""

    def __init__(self, name: str, found: Iterable[str]) -> None:
        names = sorted(found)
        received = f"metric_for_best_model: expected one of {names}, received {name!r}{near(name, names)}"
        super().__init__([f"{received}; name one of them, or return it from compute_metrics"])


def near(word: object, options: Iterable[str]) -> str:
    """The nearest of the options as "; did you mean 'x'?", or nothing."""
    names, text = [str(option) for option in options], str(word)
    if not text:
        return ""
    beginnings = {name[: len(text)]: name for name in reversed(names)}  # "adamv" is nearer to "adamw_torch" than others
    if found := get_close_matches(text, beginnings, 1, cutoff=0.75):
        return f"; did you mean {beginnings[found[0]]!r}?"
    found = get_close_matches(text, names, 1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


SECRETS = ("token", "api_key", "password", "secret")


def is_secret(name: str) -> bool:
    """Whether a value of this name must not be shown: tokens and keys, also where the name is misspelt a little."""
    return name.lower().endswith(SECRETS) or bool(get_close_matches(name, ("hub_token",), 1, cutoff=0.8))


def shown(name: str, value: object) -> str:
    """`name=value` for messages, without secrets."""
    return f"{name}=<{name.upper()}>" if is_secret(name) else f"{name}={value!r}"


def raise_if(problems: Iterable[str]) -> None:
    """Raises ConfigurationError where there is any problem."""
    if problems := list(problems):
        raise ConfigurationError(problems)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return int(value) if isinstance(value, Integral) else float(value)


def _whole(value: Any) -> int:
    if (number := _number(value)) != int(number):
        raise ValueError
    return int(number)


def _text(value: Any) -> str:
    value = value.value if isinstance(value, Enum) else value
    if not isinstance(value, str | os.PathLike):
        raise TypeError
    return str(os.fspath(value))


SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# How to read a value of each type, as configuration files and command lines give it, and what to call the type.
READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "bool": (lambda v: SWITCHES[str(v).lower()], "True or False"),
    "str": (_text, "text"),
    "list[str]": (lambda v: v.replace(",", " ").split() if isinstance(v, str) else [_text(n) for n in v], "names"),
    "list[float]": (
        lambda v: [_number(float(n)) for n in (v.replace(",", " ").split() if isinstance(v, str) else v)],
        "numbers",
    ),
    "dict[str, Any]": (lambda v: dict(json.loads(v) if isinstance(v, str) else v), "a dict, or a JSON object as text"),
}


def read(name: str, annotation: str, value: Any) -> Any:
    """Reads a value by its field's annotation: "2e-5" -> 2e-5, "True" -> True.

    Raises:
        ConfigurationError: it cannot be read so.
    """
    kinds = annotation.split(" | ")
    if value is False and name.endswith("_strategy"):  # YAML reads `eval_strategy: no` as False
        value = "no"
    if "None" in kinds and (value is None or (value in ("None", "null", "") and "str" not in kinds)):
        return None
    known = [READERS[kind] for kind in kinds if kind in READERS]
    for reader, _ in known:
        try:
            return reader(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            continue
    if known:
        raise ConfigurationError([f"{shown(name, value)}: expected {' or '.join(what for _, what in known)}"])
    return value


def check(values: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """All problems of values that have their types.

    Args:
        values: by name.
        expected: for some names, a key of RANGES or the values allowed.
    """
    problems = []
    for name, rule in expected.items():
        value, what = values[name], name.removesuffix("_steps")
        if name == "eval_steps" and value is None:
            value = values["logging_steps"]
        if values.get(f"{what}_strategy", "steps") == "steps":
            problems += check_value(name, value, rule)
    return problems + [problem for holds, problem in _contradictions(values) if holds]


def check_value(name: str, value: Any, rule: Any) -> list[str]:
    """What is wrong with one value, or with the items of a list; None and no rule are no problem."""
    items = value if isinstance(value, list) else [value]
    return (
        [] if value is None or rule is None else [problem for item in items for problem in _problem(name, item, rule)]
    )


def _problem(name: str, value: Any, rule: Any) -> list[str]:
    if not isinstance(rule, str):
        listed = ", ".join(repr(str(option)) for option in [*rule][:12])
        return [] if value in list(rule) else [f"{name}={value!r}: expected one of {listed}{near(value, rule)}"]
    holds = not isinstance(value, str) and RANGES[rule](value)  # text was read before, unless set after construction
    return [] if holds else [f"{name}={value!r}: expected {rule}"]


OF_SPACES = ("trackio_bucket_id", "trackio_static_space_id")
OF_WORKERS = tuple(f"dataloader_{n}" for n in ("prefetch_factor", "persistent_workers", "multiprocessing_context"))


def _contradictions(v: Mapping[str, Any]) -> list[tuple[bool, str]]:
    evaluates, workers, best = v["eval_strategy"] != "no", v["dataloader_num_workers"] > 0, v["load_best_model_at_end"]
    when = f"eval_strategy={str(v['eval_strategy'])!r} and save_strategy={str(v['save_strategy'])!r}"
    same = v["save_strategy"] in (v["eval_strategy"], "best")
    watches = v["lr_scheduler_type"] in WATCHERS and not evaluates
    follows = f"lr_scheduler_type={str(v['lr_scheduler_type'])!r} with eval_strategy='no'"
    alone = "with dataloader_num_workers=0: there are no workers; set their number or leave it out"
    return [
        (not v["output_dir"], "output_dir is missing: expected a folder for checkpoints; set output_dir='runs/my-run'"),
        (
            v["fp16_full_eval"] and v["bf16_full_eval"],
            "fp16_full_eval=True and bf16_full_eval=True: expected one at most; bf16 has the range of float32",
        ),
        (v["fp16"] and v["bf16"], "fp16=True and bf16=True: expected one at most; bf16 needs no loss scaler"),
        (
            best and not evaluates,
            f"load_best_model_at_end=True with {when}: nothing finds the best; try 'epoch' or False",
        ),
        (best and evaluates and not same, f"load_best_model_at_end=True with {when}: set both to the same"),
        (v["save_strategy"] == "best" and not evaluates, f"{when}: nothing finds the best; set eval_strategy='epoch'"),
        (watches, f"{follows}: it follows a metric of the evaluation; set eval_strategy='epoch'"),
        *((v[name] not in (None, False) and not workers, f"{name} {alone}") for name in OF_WORKERS),
        (
            v["ddp_static_graph"] and v["gradient_accumulation_steps"] > 1,
            "ddp_static_graph=True with gradient_accumulation_steps > 1: DDP fails on that; leave one of them out",
        ),
        *((v[name] and not v["trackio_space_id"], f"{name}: set trackio_space_id, its space") for name in OF_SPACES),
    ]


def best_metric(args: TrainingArguments) -> tuple[str | None, bool | None]:
    """The metric by which a model is the best, where something asks for one, and whether more of it is better."""
    metric, greater = args.metric_for_best_model, args.greater_is_better
    if args.load_best_model_at_end or args.save_strategy == "best" or args.lr_scheduler_type in WATCHERS:
        metric = metric or "loss"
    return metric, not metric.endswith("loss") if metric is not None and greater is None else greater
