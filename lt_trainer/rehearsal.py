"""Two batches are evaluated before the first step, so that a misspelt metric is not found hours later.

It fires no event, logs nothing, and leaves weights, random numbers and the caller's own state as they were: what is
called is a copy of `compute_metrics` (see `independent`), and with `batch_eval_metrics` the second batch comes with
`compute_result=True`, after which a metric starts afresh anyway.
"""

from __future__ import annotations

import copy
import functools
import io
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import Subset

from lt_trainer import loaders, scoring
from lt_trainer.args.check import MissingMetricError
from lt_trainer.checkpoint.rng import rng_state, set_rng_state
from lt_trainer.data.checks import is_stream
from lt_trainer.overrides import is_overridden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lt_trainer.engine import Engine

logger = logging.getLogger(__name__)

NUM_BATCHES = 2


def rehearse(engine: Engine) -> None:
    """Evaluates two batches of each evaluation set, with rows from all over it.

    Raises:
        MissingMetricError: `metric_for_best_model` is not among the metrics (lists them).
        Exception: what `compute_metrics` raised.
    """
    facade, args, metric = engine.facade, engine.facade.args, engine.plan.saving.metric_for_best
    if not type(facade).evaluate.__module__.startswith("lt_trainer."):  # what a subclass does in it is not known
        return
    if not args.eval_dry_run or args.eval_strategy == "no" or (facade.compute_metrics is None and metric is None):
        return
    shared = (facade, facade.model, facade.processing_class, facade.data_collator, facade.train_dataset)
    try:
        compute_metrics = independent(facade.compute_metrics, (*shared, facade.eval_dataset))
    except TypeError as error:
        logger.info("compute_metrics is not tried out before training: %s", error)
        return
    found: dict[str, Any] = {}
    with undisturbed(engine):
        for name, rows in scoring.named_datasets(facade.eval_dataset):
            prefix = "eval" if name is None else f"eval_{name}"
            few = _few_batches(engine, name, rows)
            try:
                output = scoring.evaluate(engine, few, prefix, None, compute_metrics=compute_metrics, predicts=False)
            except Exception as error:
                error.add_note(f"(on {NUM_BATCHES} batches, before the first step; eval_dry_run=False leaves this out)")
                raise
            found |= output.metrics or {}
    if metric is not None and metric not in found:
        raise MissingMetricError(metric, found)


def _few_batches(engine: Engine, name: str | None, rows: Any) -> Any:
    """Two batches, with rows evenly from first to last: data sets may be sorted by their labels."""
    facade = engine.facade
    if is_overridden(facade, "get_eval_dataloader"):
        return _First(facade.get_eval_dataloader(name), NUM_BATCHES)
    if is_stream(rows):
        return _First(loaders.batch_loader(facade, rows, "eval_dataset"), NUM_BATCHES)
    count = min(NUM_BATCHES * facade.args.per_device_eval_batch_size * engine.world_size, len(rows))
    few = Subset(rows, [i * len(rows) // count for i in range(count)])
    return loaders.batch_loader(facade, few, "eval_dataset")


class _First:
    """The first batches of a loader."""

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.count = loader, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.loader, self.count)


@contextmanager
def undisturbed(engine: Engine) -> Iterator[None]:
    """Silences events, and puts back random numbers and what callbacks are handed."""
    facade, hooks, state = engine.facade, engine.module.hooks, rng_state(engine.world_size)
    handler, fire, loaders = facade.callback_handler, hooks.fire, dict(facade.loaders)
    loader = handler.eval_dataloader
    hooks.fire = lambda event: None
    try:
        yield
    finally:
        handler.eval_dataloader, hooks.fire, facade.loaders = loader, fire, loaders
        set_rng_state(state)


def independent(function: Callable[..., Any] | None, shared: Iterable[Any]) -> Any:
    """A copy of a function that changes nothing where it is called: objects, variables around it and globals it reads.

    Args:
        function: a function, a method, a partial, or an object that can be called.
        shared: what is not copied, wherever it occurs, such as the model; no other `nn.Module` is, but metrics are.

    Raises:
        TypeError: it reads an iterator that cannot be copied, such as a generator.
    """
    return _Copier(getattr(function, "__module__", None), {id(item): item for item in shared}).copy(function)


class _Copier:
    def __init__(self, module: str | None, memo: dict[int, Any]) -> None:
        self.module, self.memo = module, memo  # functions of other modules have no state of the caller's

    def copy(self, value: Any) -> Any:
        if id(value) in self.memo:
            return self.memo[id(value)]
        if isinstance(value, FunctionType):
            return self._function(value) if value.__module__ == self.module else value
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.copy(value.__self__))
        if isinstance(value, functools.partial):
            words = {name: self.copy(item) for name, item in value.keywords.items()}
            return functools.partial(self.copy(value.func), *map(self.copy, value.args), **words)
        if isinstance(value, ModuleType | type) or (isinstance(value, nn.Module) and not _is_metric(value)):
            return value
        try:
            return copy.deepcopy(value, self.memo)
        except Exception as error:  # an open file, a lock: whatever refuses to be copied is shared
            if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
                raise TypeError(f"it reads a {type(value).__name__}, which cannot be read twice") from error
            return value

    def _function(self, function: FunctionType) -> FunctionType:
        cells = tuple(CellType() for _ in function.__closure__ or ())
        scope = dict(function.__globals__)
        twin = FunctionType(function.__code__, scope, function.__name__, None, cells)
        twin.__module__ = function.__module__
        self.memo[id(function)] = twin
        twin.__defaults__ = tuple(map(self.copy, function.__defaults__ or ())) or None
        twin.__kwdefaults__ = {name: self.copy(value) for name, value in (function.__kwdefaults__ or {}).items()}
        twin.__dict__ |= {name: self.copy(value) for name, value in function.__dict__.items()}
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            if original != CellType():  # one that is empty still
                cell.cell_contents = self.copy(original.cell_contents)
        for name in _names(function.__code__) & scope.keys():
            scope[name] = self.copy(scope[name])
        return twin


def _is_metric(value: Any) -> bool:
    return any(base.__module__.split(".")[0] == "torchmetrics" for base in type(value).__mro__)


def _names(code: CodeType) -> set[str]:
    """The names that code reads or writes as globals, functions inside it included."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
