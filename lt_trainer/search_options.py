"""What a search is asked for, as plain data: options and a space, checked before anything is imported or trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from lt_trainer.args.check import ConfigurationError, check_value, near, raise_if, read
from lt_trainer.args.fields import TrainingArguments, arg

BACKENDS = ("optuna", "ray", "sigopt", "wandb")  # of `transformers`; the first is there
DIRECTIONS = ("minimize", "maximize")
SAMPLERS = {  # names of classes in optuna.samplers
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "nsgaii": "NSGAIISampler",
}
PRUNERS = {  # of optuna.pruners
    "median": "MedianPruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "none": "NopPruner",
}
PICTURES = {"png": "matplotlib", "html": "plotly"}  # and what draws them
PER_TRIAL = ("output_dir", "resume_from_checkpoint")  # the search sets these itself
KEYS = ("type", "low", "high", "log", "step", "choices")
TYPES = ("float", "int", "categorical")
FORMS = "{low: 1e-5, high: 1e-3, log: true}, 1e-5..1e-3 log, or a list of choices"


def wrong_backend(name: object) -> list[str]:
    """What is wrong with the name of a backend; nothing where it is None or "optuna"."""
    if name in (None, BACKENDS[0]):
        return []
    if name in BACKENDS:
        return [f"backend={name!r}: expected 'optuna', the only one here; its samplers and pruners cover the search"]
    return [f"backend={name!r}: expected 'optuna'{near(name, BACKENDS[:1])}; leave it out"]


# ---- a space


@dataclass(frozen=True)
class Draw:
    """Where one argument is drawn from: numbers from `low` to `high`, both included, or one of `choices`.

    Attributes:
        kind: "float", "int" or "categorical".
        low: the least number.
        high: the largest.
        log: draws orders of magnitude evenly.
        step: between neighbours; None: any float, each whole number.
        choices: text, numbers, True, False or None.
    """

    kind: str
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any, name: str) -> Any:
        """Draws from a trial of Optuna."""
        if self.kind == "categorical":
            return trial.suggest_categorical(name, list(self.choices))
        if self.kind == "int":
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Space:
    """A space that was read from a file or a command line; called with a trial as a function of the user's would be.

    Attributes:
        draws: name of an argument -> where it is drawn from.
    """

    draws: Mapping[str, Draw]

    def __call__(self, trial: Any) -> dict[str, Any]:
        """The arguments for a trial."""
        return {name: draw.suggest(trial, name) for name, draw in self.draws.items()}


def read_draw(name: str, given: Any) -> Draw:
    """Reads where an argument is drawn from.

    Args:
        name: of the argument.
        given: a mapping with KEYS, a list of choices, or text such as "1e-5..1e-3 log" and "8..64 step 8".

    Raises:
        ConfigurationError: no such argument, or a range that cannot be (every problem).
    """
    known = {f.name: f for f in fields(TrainingArguments)}
    if name in PER_TRIAL:
        raise ConfigurationError([f"{name}: is set by the search, once a trial; leave it out"])
    if name not in known:
        raise ConfigurationError([f"{name}: is no argument of TrainingArguments{near(name, known)}; correct the name"])
    annotation, rule = str(known[name].type), known[name].metadata.get("expects")
    form = _form(name, given)
    if unknown := [key for key in form if key not in KEYS]:
        raise ConfigurationError(
            [f"{name}: {key!r} is unknown: expected {', '.join(KEYS)}{near(key, KEYS)}; correct it" for key in unknown]
        )
    kind = form.get("type", _kind(form, annotation))
    if kind not in TYPES:
        raise ConfigurationError([f"{name}: type {kind!r}: expected one of {', '.join(TYPES)}{near(kind, TYPES)}"])
    if kind == "categorical":
        return Draw(kind, choices=_choices(name, form, annotation, rule))
    return _range(name, kind, form, annotation, rule)


def _form(name: str, given: Any) -> dict[str, Any]:
    """Every way to write a draw as the longest."""
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, list | tuple):
        return {"choices": list(given)}
    words = given.split() if isinstance(given, str) else []
    low, dots, high = words[0].partition("..") if words else ("", "", "")
    rest = words[1:]
    form: dict[str, Any] = {"low": low, "high": high}
    while dots and rest and rest[0] in ("log", "step"):
        if rest[0] == "log":
            form["log"], rest = True, rest[1:]
        elif len(rest) > 1:
            form["step"], rest = rest[1], rest[2:]
        else:
            break
    if not dots or rest:
        raise ConfigurationError([f"{name}: expected {FORMS}, received {given!r}"])
    return form


def _kind(form: Mapping[str, Any], annotation: str) -> str:
    if "choices" in form:
        return "categorical"
    return "int" if "int" in annotation.split(" | ") and "float" not in annotation else "float"


def _choices(name: str, form: Mapping[str, Any], annotation: str, rule: Any) -> tuple[Any, ...]:
    given = form.get("choices")
    if extra := [key for key in form if key not in ("type", "choices")]:
        raise ConfigurationError([f"{name}: {', '.join(extra)} beside choices: expected one of them; take one out"])
    if not isinstance(given, list) or not given:
        raise ConfigurationError([f"{name}: choices: expected a list of values, received {given!r}"])
    found, problems = [], list[str]()
    for value in given:
        if not (value is None or isinstance(value, str | Real)):
            problems.append(f"{name}: choice {value!r}: expected text, a number, true, false or null")
            continue
        try:
            found.append(read(name, annotation, value))
            problems += check_value(name, found[-1], rule)
        except ConfigurationError as error:
            problems += error.problems
    raise_if(problems)
    return tuple(dict.fromkeys(found))


def _range(name: str, kind: str, form: Mapping[str, Any], annotation: str, rule: Any) -> Draw:
    kinds = annotation.split(" | ")
    if not {"int", "float"} & {*kinds}:
        raise ConfigurationError([f"{name}: a range: expected choices, since it is {annotation}; give a list of them"])
    if kind == "float" and "float" not in kinds:
        raise ConfigurationError([f"{name}: type 'float': expected 'int', since it is {annotation}"])
    problems, found = list[str](), dict[str, Any]()
    for key in ("low", "high", "step"):
        if form.get(key) is not None or key != "step":
            try:
                found[key] = read(f"{name}.{key}", kind, form.get(key))
                problems += check_value(f"{name}.{key}", found[key], rule if key != "step" else "above 0")
            except ConfigurationError as error:
                problems += error.problems
    try:
        log = read(f"{name}.log", "bool", form.get("log", False))
    except ConfigurationError as error:
        problems += error.problems
    raise_if(problems)
    if found["low"] > found["high"]:
        problems.append(f"{name}: low {found['low']} is above high {found['high']}: expected the lower one first")
    if log and found["low"] <= 0:
        problems.append(f"{name}: log with low {found['low']}: expected low above 0, since 0 has no logarithm")
    if log and "step" in found:
        problems.append(f"{name}: log and step exclude each other: expected one at most; take one out")
    raise_if(problems)
    return Draw(kind, found["low"], found["high"], log, found.get("step"))


# ---- options


@dataclass(frozen=True)
class SearchOptions:
    """The section `search` of a configuration: each option is documented beside its default."""

    space: Space | None = arg(None, "where arguments are drawn from; None: the space of transformers")
    n_trials: int = arg(20, "trials of the study in all, over restarts and processes that share it", "1 or more")
    metric: str | None = arg(None, "what trials are judged by; None: metric_for_best_model, or the loss")
    direction: str | None = arg(None, "None: less of a loss, more of any other metric", DIRECTIONS)
    backend: str | None = arg(None, "the library that draws: optuna")
    storage: str | None = arg(None, "database of the study, such as sqlite:///search.db, by which a search goes on")
    study_name: str = arg("search", "its name in the storage")
    sampler: str | None = arg(None, "what draws; None: tpe", tuple(SAMPLERS))
    pruner: str = arg("median", "what ends hopeless trials early", tuple(PRUNERS))
    timeout: float | None = arg(None, "seconds after which no further trial begins", "above 0")
    pictures: str | None = arg(None, "draws history and importance into output_dir", tuple(PICTURES))

    def problems(self) -> list[str]:
        """Everything that is wrong with values that have their types."""
        rules = {f.name: f.metadata["expects"] for f in fields(self)}
        found = [p for name, rule in rules.items() for p in check_value(name, getattr(self, name), rule)]
        package = PICTURES.get(self.pictures or "")
        if package and importlib.util.find_spec(package) is None:
            found.append(f"pictures={self.pictures!r}: expected {package} to draw them: pip install {package}")
        return found + wrong_backend(self.backend)

    def goal(self, args: TrainingArguments) -> tuple[str, str]:
        """The metric with its prefix, and the direction."""
        metric = self.metric or args.metric_for_best_model or "loss"
        own = self.metric in (None, args.metric_for_best_model) and args.greater_is_better is not None
        greater = args.greater_is_better if own else not metric.endswith("loss")
        name = metric if metric.startswith("eval_") else f"eval_{metric}"
        return name, self.direction or DIRECTIONS[bool(greater)]

    def as_dict(self) -> dict[str, Any]:
        """As a file would have it."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "space"}
        if self.space is None:
            return found
        return found | {"space": {name: _written(draw) for name, draw in self.space.draws.items()}}


def _written(draw: Draw) -> dict[str, Any]:
    if draw.kind == "categorical":
        return {"type": draw.kind, "choices": list(draw.choices)}
    found: dict[str, Any] = {"type": draw.kind, "low": draw.low, "high": draw.high, "log": draw.log}
    return found if draw.step is None else found | {"step": draw.step}
