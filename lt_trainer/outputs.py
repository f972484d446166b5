"""What metrics are handed, and what `train`, `predict`, `evaluation_loop` and a search return. No torch."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class EvalPrediction:
    """What `compute_metrics` gets: unpacks as (predictions, label_ids), then inputs and losses where there are any.

    `example_ids` are the numbers of the rows in the data set, one for each row of the predictions.
    """

    def __init__(
        self, predictions: Any, label_ids: Any, inputs: Any = None, losses: Any = None, example_ids: Any = None
    ) -> None:
        self.predictions, self.label_ids, self.inputs, self.losses = predictions, label_ids, inputs, losses
        self.example_ids = example_ids
        self.elements = (predictions, label_ids, *(extra for extra in (inputs, losses) if extra is not None))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.elements)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self.elements):
            raise IndexError(
                f"EvalPrediction has {len(self.elements)} elements, received index {index}: 0 is predictions, "
                "1 label_ids"
            )
        return self.elements[index]


class EvalLoopOutput(NamedTuple):
    """Predictions and labels in row order, metrics, and the number of rows."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float] | None
    num_samples: int | None


class PredictionOutput(NamedTuple):
    """What `Trainer.predict` returns."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float] | None


class TrainOutput(NamedTuple):
    """What `Trainer.train` returns: optimizer steps done, mean loss a step, run time and speed."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class BestRun(NamedTuple):
    """What `Trainer.hyperparameter_search` returns: number of the trial, its objective(s), what it drew, the study."""

    run_id: str
    objective: float | list[float]
    hyperparameters: dict[str, Any]
    run_summary: Any = None


class HPSearchBackend(StrEnum):
    """What searches."""

    OPTUNA = "optuna"
