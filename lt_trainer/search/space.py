"""Spaces: what a trial may set, what it draws, and whether two searches draw from the same one."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, near, raise_if
from lt_trainer.search_options import PER_TRIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lt_trainer.args.fields import TrainingArguments


def default_hp_space_optuna(trial: Any) -> dict[str, Any]:
    """The space of `transformers`: learning rate (log scale), epochs, seed, rows a device and micro-batch."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 5),
        "seed": trial.suggest_int("seed", 1, 40),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [4, 8, 16, 32, 64]),
    }


def default_compute_objective(metrics: Mapping[str, float]) -> float:
    """The sum of the metrics of `compute_metrics`; the loss where there are none. Times and speeds do not count."""
    loss = metrics.get("eval_loss")
    counted = {
        name: value
        for name, value in metrics.items()
        if name not in ("eval_loss", "epoch", "num_input_tokens_seen")
        and not name.endswith(("_runtime", "_per_second", "_model_preparation_time"))
    }
    if not counted and loss is None:
        raise ValueError(
            f"the default objective: expected eval_loss or a metric, received {sorted(metrics)}: pass compute_objective"
        )
    return sum(counted.values()) if counted else float(loss)  # type: ignore[arg-type]


def drawn(space: Callable[[Any], Any], trial: Any, args: TrainingArguments) -> dict[str, Any]:
    """The arguments that a space sets for a trial.

    Raises:
        ConfigurationError: names that are no arguments (with the nearest), or no names at all.
    """
    values = space(trial)
    if not isinstance(values, Mapping):
        problem = f"hp_space: expected a dict of argument -> value, received {values!r}"
        raise ConfigurationError([f"{problem}; return {{'learning_rate': trial.suggest_float(...)}}"])
    known = [f.name for f in fields(args)]
    problems = [
        f"hp_space: {name!r} is no argument of {type(args).__name__}{near(name, known)}; "
        "what the model needs is drawn in model_init(trial)"
        for name in values
        if name not in known
    ]
    problems += [
        f"hp_space: {name!r} is set by the search, once a trial; leave it out" for name in PER_TRIAL if name in values
    ]
    raise_if(problems)
    return dict(values)


def probe(space: Callable[[Any], Mapping[str, Any]], args: TrainingArguments) -> dict[str, str]:
    """Tries a space before the first trial, with the same draw each time.

    Returns:
        What it draws from, by name, as JSON: the same for the same space.

    Raises:
        ConfigurationError: names that are no arguments, or values that an argument cannot take.
    """
    import optuna

    with quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), storage=None)
        trial = study.ask()
        try:
            values = drawn(space, trial, args)
        except optuna.TrialPruned:  # a space may refuse a draw
            values = {}
        copy.copy(args).assign(**values)
        found = study.trials[trial.number].distributions
    return {name: optuna.distributions.distribution_to_json(d) for name, d in sorted(found.items())}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How two probes differ, for people; nothing where they do not."""
    parts = [f"{name} is new" for name in now if name not in before]
    parts += [f"{name} is gone" for name in before if name not in now]
    parts += [
        f"{name} was {_readable(before[name])} and is {_readable(now[name])}"
        for name in now
        if name in before and now[name] != before[name]
    ]
    return "; ".join(parts)


def _readable(distribution: str) -> str:
    """A distribution without Optuna's braces: its kind, and what it was made with."""
    found = json.loads(distribution)
    if not isinstance(found, dict):
        return distribution
    kind = found["name"].removesuffix("Distribution").lower()
    return f"{kind} ({', '.join(f'{name} {value}' for name, value in sorted(found['attributes'].items()))})"


def takes_trial(model_init: Callable[..., Any]) -> bool:
    """Whether a `model_init` takes the trial, and so may draw from it."""
    return bool(inspect.signature(model_init).parameters)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's notices about studies that nobody asked for stay out."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
