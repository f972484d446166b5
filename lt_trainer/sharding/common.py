"""What each way of sharding needs: a configuration that can be read, an optimizer that can step parts of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import near

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments

# Optimizers that treat each weight by itself, former names and those that mean the same at the end.
ELEMENTWISE = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "adamw_hf", "adamw_apex_fused")


def read_settings(name: str, given: Any) -> tuple[dict[str, Any], list[str]]:
    """A configuration from a dict, JSON text or the path of a JSON file, and what is wrong with it.

    Args:
        name: of the argument.
        given: its value; None is empty.
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {}), []
    is_text = isinstance(given, str) and given.lstrip().startswith("{")
    path, found = Path(str(given)), None
    try:
        found = json.loads(given if is_text else path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.json")] if path.parent.is_dir() else []
        problem = f"expected a dict or a JSON file, found no such file in {path.parent.resolve()}"
        return {}, [f"{name}={given!r}: {problem}{near(path.name, beside)}; name one that is there"]
    except (OSError, ValueError) as error:
        problem = f"expected a dict or a JSON file, and it cannot be read: {error}"
        return {}, [f"{name}={given!r}: {problem}; correct it"]
    if not isinstance(found, dict):
        return {}, [f"{name}={given!r}: expected a JSON object, found {found!r:.80}; write settings by their names"]
    return found, []


def optimizer_problems(args: TrainingArguments, way: str) -> list[str]:
    """What is wrong with `optim` where a process holds parts of the weights, flattened or not."""
    if str(args.optim) in ELEMENTWISE:
        return []
    known = f"expected one that treats each weight by itself ({', '.join(ELEMENTWISE[:-2])})"
    return [f"optim={str(args.optim)!r} with {way}: {known}, since a process holds parts of the weights"]
