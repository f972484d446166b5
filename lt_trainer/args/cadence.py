"""How often a run logs, evaluates and saves: shares of the run become steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments


@dataclass(frozen=True)
class Every:
    """When something happens: `steps` counts optimizer steps, and only where `kind` is "steps"."""

    kind: Literal["no", "steps", "epoch", "best"]
    steps: int


@dataclass(frozen=True)
class Cadence:
    """When to log, evaluate and save."""

    logging: Every
    evaluation: Every
    saving: Every
    eval_on_start: bool


def plan_cadence(args: TrainingArguments, max_steps: int) -> Cadence:
    """Shares resolved against the length of the run, rounded up."""

    def every(strategy: str, steps: float | None) -> Every:
        steps = args.logging_steps if steps is None else steps
        return Every(str(strategy), math.ceil(max_steps * steps) if steps < 1 else int(steps))  # type: ignore[arg-type]

    return Cadence(
        logging=every(args.logging_strategy, args.logging_steps),
        evaluation=every(args.eval_strategy, args.eval_steps),
        saving=every(args.save_strategy, args.save_steps),
        eval_on_start=args.eval_on_start,
    )
