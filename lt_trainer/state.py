"""What callbacks are handed: state and control. No torch; JSON both ways.

`TrainerState` has the fields and the JSON of `transformers`, so that each tool reads the other's trainer_state.json.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lt_trainer.names import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType  # noqa: F401  (by either)
from lt_trainer.outputs import EvalLoopOutput, EvalPrediction, PredictionOutput, TrainOutput  # noqa: F401  (by either)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike


class ExportableState:
    """Base of what carries state over a restart: `state()` gives {"args": {...}, "attributes": {...}} as plain JSON."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        raise NotImplementedError(f"{type(self).__name__} has no state(): return {{'args': ..., 'attributes': ...}}")

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Makes an instance of what `state()` gave."""
        instance = cls(**state["args"])
        for name, value in state["attributes"].items():
            setattr(instance, name, value)
        return instance


@dataclass
class TrainerState:
    """Progress of a run. `*_steps` are optimizer steps; `epoch` counts in fractions; `log_history` holds each log."""

    epoch: float | None = 0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: int = 500
    eval_steps: int = 500
    save_steps: int = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: list[dict[str, float]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None
    stateful_callbacks: Any = None

    def __post_init__(self) -> None:
        self.log_history = self.log_history or []
        if not isinstance(self.stateful_callbacks, dict):
            self.stateful_callbacks = collect_states(self.stateful_callbacks or ())

    def to_json_string(self) -> str:
        """The text of trainer_state.json."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, default=float) + "\n"

    def save_to_json(self, json_path: str | PathLike[str]) -> None:
        """Writes `to_json_string` to a file."""
        Path(json_path).write_text(self.to_json_string(), encoding="utf-8")

    @classmethod
    def load_from_json(cls, json_path: str | PathLike[str]) -> Self:
        """Reads what `save_to_json`, or `transformers`, wrote."""
        return cls(**json.loads(Path(json_path).read_text(encoding="utf-8")))


def collect_states(callbacks: Iterable[Any]) -> dict[str, Any]:
    """State of each callback by class name; a list where a class occurs more than once."""
    found: dict[str, list[Any]] = {}
    for callback in callbacks:
        found.setdefault(type(callback).__name__, []).append(callback.state())
    return {name: states if len(states) > 1 else states[0] for name, states in found.items()}


@dataclass
class TrainerControl(ExportableState):
    """Wishes of the callbacks; whoever sets a flag, the trainer acts on it before the next step and clears it."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": asdict(self), "attributes": {}}
