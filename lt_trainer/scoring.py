"""What the caller's `compute_metrics` makes of an evaluation: called on one process, with the public shapes."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from lt_trainer.arrays import map_nest
from lt_trainer.evaluation import Evaluation, Kept
from lt_trainer.outputs import EvalLoopOutput, EvalPrediction

if TYPE_CHECKING:
    from torch import nn

    from lt_trainer.drivers import Driver
    from lt_trainer.engine import Engine

Metrics: TypeAlias = dict[str, Any]
ComputeMetrics: TypeAlias = Callable[..., Any]


class Scorer:
    """Makes metrics of one evaluation.

    Args:
        compute_metrics: EvalPrediction -> dict; with `by_batch` it also takes `compute_result`, True in the last batch.
        by_batch: calls it with the tensors of each batch, which are then not kept (`batch_eval_metrics`).
    """

    def __init__(self, compute_metrics: ComputeMetrics | None, *, by_batch: bool) -> None:
        self.compute_metrics, self.by_batch = compute_metrics, by_batch and compute_metrics is not None
        self._pending: Kept | None = None  # the last batch is known as such when no other follows

    def add(self, kept: Kept) -> None:
        """Takes in a batch; the call for the one before it follows."""
        if kept.predictions is None or kept.labels is None:
            return
        if self._pending is not None:
            self._call(self._pending, compute_result=False)
        self._pending = Kept(*(map_nest(_own, nest) for nest in kept))

    def _call(self, kept: Kept, **options: bool) -> Any:
        assert self.compute_metrics is not None
        prediction = EvalPrediction(*kept)
        with torch.inference_mode(False), torch.no_grad():  # metrics live longer than this pass
            return self.compute_metrics(prediction, **options)

    def result(self, evaluation: Evaluation, driver: Driver, kept: Kept) -> Metrics:
        """The metrics, on every process; none where there are no labels or no function.

        Args:
            evaluation: with `by_batch` on several processes, each of which has a share of each batch.
            driver: of the strategy.
            kept: on the first process, all that was kept.

        Raises:
            TypeError: the function returned no dict.
        """
        if self.compute_metrics is None:
            return {}
        if not self.by_batch:
            return driver.first(lambda: {} if kept.labels is None else checked(self._call(kept)))
        failure: Exception | None = None
        if driver.world_size > 1:
            for _, batch in evaluation.batches(driver):
                if driver.rank == 0 and failure is None:
                    try:
                        with driver.alone():
                            self.add(Kept(*(map_nest(torch.from_numpy, nest) for nest in batch)))
                    except Exception as error:  # the others are still sending: it is raised after them
                        failure = error
        return driver.first(lambda: self._last(failure))

    def _last(self, failure: Exception | None) -> Metrics:
        if failure is not None:
            raise failure
        return {} if self._pending is None else checked(self._call(self._pending, compute_result=True))


def evaluate(
    engine: Engine,
    batches: Any,
    prefix: str,
    ignore_keys: list[str] | None,
    *,
    compute_metrics: ComputeMetrics | None,
    predicts: bool,
) -> EvalLoopOutput:
    """One pass over a loader of batches: loss, predictions where somebody reads them, metrics.

    Args:
        engine: runs it.
        batches: see Trainer.evaluation_loop.
        prefix: of the metrics' names.
        ignore_keys: outputs that are no predictions.
        compute_metrics: see Scorer.
        predicts: the caller reads the predictions, on every process.
    """
    from lt_trainer import user_steps

    start, facade, args = time.time(), engine.facade, engine.facade.args
    extras = args.include_for_metrics or ()
    keep = not args.prediction_loss_only and (predicts or compute_metrics is not None)
    scorer = Scorer(compute_metrics if keep else None, by_batch=args.batch_eval_metrics)
    streams = scorer.by_batch and engine.world_size == 1
    evaluation = Evaluation(
        keep,
        user_steps.ignored_outputs(facade.model) if ignore_keys is None else ignore_keys,
        preprocess=facade.preprocess_logits_for_metrics,
        pick_inputs=_pick_inputs(facade.model, scorer.by_batch) if "inputs" in extras else None,
        keeps_losses="loss" in extras,
        concatenates=args.eval_do_concat_batches,
        hold=args.eval_accumulation_steps or 1,
        on_batch=scorer.add if streams else None,
        keeps_all=predicts or not streams,
        read=facade.task.add_scores if facade.task is not None and facade.task.reads_predictions else None,
        needs_labels=not predicts,
        predicts=facade.task.generate_max_examples if facade.task is not None and not predicts else None,
    )
    if facade.task is not None:
        facade.task.begin_scores()
    engine.run(batches, evaluation)
    driver = engine.driver
    kept = evaluation.collect(driver, everywhere=predicts) if predicts or not scorer.by_batch else Kept()
    loss, num_rows = evaluation.loss(driver), evaluation.num_rows(driver)
    own: Metrics = {}
    if facade.task is not None and loss is not None:
        own = facade.task.scores(driver) | facade.task.loss_scores(loss)
    own |= evaluation.num_predicted(driver)
    if facade.model_preparation_time is not None:
        own["model_preparation_time"] = facade.model_preparation_time
    metrics = ({} if loss is None else {"loss": loss}) | own | scorer.result(evaluation, driver, kept)
    metrics = {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": n for name, n in metrics.items()}
    steps = math.ceil(num_rows / (args.per_device_eval_batch_size * engine.world_size))
    metrics |= speed_metrics(prefix, start, num_rows, steps)
    return EvalLoopOutput(kept.predictions, kept.labels, metrics, num_rows)


def named(dataset: Any, own: Any) -> Any:
    """The data set that is meant: itself, or by its name one of the trainer's own.

    Raises:
        ValueError: None, or no such name (lists those there are).
    """
    if dataset is None:
        raise ValueError("evaluate needs a data set: expected eval_dataset here or in Trainer(...), received None")
    if not isinstance(dataset, str):
        return dataset
    names = list(own) if isinstance(own, Mapping) else []
    if dataset not in names:
        raise ValueError(
            f"eval_dataset={dataset!r}: expected a data set, or the name of one of the trainer's own, {names}"
        )
    return own[dataset]


def named_datasets(given: Any) -> list[tuple[str | None, Any]]:
    """(name, data set) of each data set that evaluations read; no name where there is only one."""
    if isinstance(given, Mapping):
        return list(given.items())
    return [] if given is None else [(None, given)]


def _pick_inputs(model: nn.Module, whole: bool) -> Callable[[dict[str, Any]], Any]:
    """Of a batch what `transformers` hands on: all tensors to a function that sees each batch, else the main input."""
    name = getattr(model, "main_input_name", "input_ids")

    def pick(batch: dict[str, Any]) -> Any:
        tensors = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
        if whole:
            return tensors
        if name not in tensors:
            raise ValueError(
                f"include_for_metrics=['inputs']: expected {name!r}, the model's main input, received {sorted(batch)}: "
                "set main_input_name on the model's class"
            )
        return tensors[name]

    return pick


def check_compute_metrics(compute_metrics: ComputeMetrics | None, *, by_batch: bool) -> None:
    """Checks that a function can be called as it is going to be.

    Raises:
        ValueError: `batch_eval_metrics` with a function that takes no `compute_result`.
    """
    if compute_metrics is None or not by_batch:
        return
    parameters = inspect.signature(compute_metrics).parameters
    if "compute_result" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(
            "batch_eval_metrics=True: expected compute_metrics(prediction, compute_result), which is called for each "
            f"batch and returns its metrics where compute_result is True, received one that takes {list(parameters)}: "
            "add the argument, or set batch_eval_metrics=False"
        )


def checked(metrics: Any) -> Metrics:
    """Metrics as plain numbers under names.

    Raises:
        TypeError: they are no dict, or a name is no text.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(
            "compute_metrics: expected a dict such as {'accuracy': 0.9}, received "
            f"{metrics!r:.80} ({type(metrics).__name__}): return one from it"
        )
    if wrong := [name for name in metrics if not isinstance(name, str)]:
        raise TypeError(f"compute_metrics: expected names of metrics as text, received {wrong[0]!r}: name it")
    return {name: plain(value) for name, value in metrics.items()}


def plain(value: Any) -> Any:
    """Arrays and tensors of a nest as numbers, or lists of them: what JSON takes."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        values = value.detach().cpu() if isinstance(value, torch.Tensor) else np.asarray(value)
        return values.item() if math.prod(values.shape) == 1 else values.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def speed_metrics(prefix: str, start: float, num_rows: float, num_steps: int) -> dict[str, float]:
    """Run time since `start` in seconds, and rows and steps a second."""
    runtime = time.time() - start
    return {
        f"{prefix}_runtime": round(runtime, 4),
        f"{prefix}_samples_per_second": round(num_rows / runtime, 3),
        f"{prefix}_steps_per_second": round(num_steps / runtime, 3),
    }


def _own(leaf: Any) -> Any:
    """A tensor that outlives the pass: one of inference mode cannot enter a metric that is updated in place later."""
    with torch.inference_mode(False):
        return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
