"""A task by name (or as an object) and raw rows -> the task and its data, ready for the facade."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, cast

from lt_trainer.args.check import near
from lt_trainer.datamodule import TaskData, is_several
from lt_trainer.tasks.base import Task
from lt_trainer.tasks.registry import TASKS, TaskEntry, find_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from lt_trainer.args.fields import TrainingArguments


def prepare_task(
    task: str | Task,
    data: TaskData | Mapping[str, Any] | None,
    args: TrainingArguments,
    model: nn.Module | str | None,
    tokenizer: Any,
    train: Any,
    validation: Any,
) -> tuple[Task, TaskData]:
    """Reads and tokenizes raw rows, and makes the task that trains on them.

    Args:
        task: a name of the registry, or a task whose class is in it.
        data: a data module, or arguments for the task's own, such as `{"label_column": "ner_tags"}`.
        args: batch sizes and seed, for the reports.
        model: a name, a folder or a model; not beside a task object, which has one.
        tokenizer: a name, a folder or a tokenizer; None: as the model.
        train: raw rows; None where `data` has them.
        validation: likewise; of a dict of several sets each is encoded by itself, in `TaskData.evaluated`.

    Raises:
        ValueError: no model, no rows, or two of either.
        TypeError: a task object whose data nobody knows.
    """
    if isinstance(task, Task) and model is not None:
        raise ValueError(
            "Trainer: expected a model in the task, or as model= or model_init=, received both: leave it out"
        )
    if isinstance(task, str) and model is None:
        raise ValueError(f"Trainer(task={task!r}): expected model=(a name, a folder or a model), received None")
    module = (
        data if isinstance(data, TaskData) else _make_data(task, data or {}, args, model, tokenizer, train, validation)
    )
    if module is data and (train is not None or validation is not None):
        raise ValueError("Trainer: expected rows in data or as train_dataset and eval_dataset, received both")
    trains = module.splits["train"] is not None or module.dataset is not None
    if isinstance(task, Task):
        if module is not data:
            task.prepare_data_module(module)
    else:
        entry = find_task(task)
        cls = getattr(importlib.import_module(entry.module), entry.task_class)
        linked = {name: getattr(module, source) for name, source in entry.linked.items()} if trains else {}
        task = cast("Task", cls(model, **linked))
        if not trains:  # a trained model knows its classes; the rows to measure may hold only some
            task.prepare_data_module(module)
    if not module.is_set_up:
        module.setup()
    return task, module


def _make_data(
    task: str | Task,
    options: Mapping[str, Any],
    args: TrainingArguments,
    model: Any,
    tokenizer: Any,
    train: Any,
    validation: Any,
) -> TaskData:
    entry = find_task(task) if isinstance(task, str) else _entry_of(task)
    if tokenizer is None:
        tokenizer = model if isinstance(model, str) else _folder_of(task.model if isinstance(task, Task) else model)
    cls = getattr(importlib.import_module(entry.module), entry.data_class)
    several = is_several(validation)
    given = {"train": train, "validation": None if several else validation}
    sizes = {
        "batch_size": args.per_device_train_batch_size,
        "eval_batch_size": args.per_device_eval_batch_size,
        "seed": args.seed if args.data_seed is None else args.data_seed,
    }
    if unknown := [name for name in options if name not in inspect.signature(cls).parameters]:
        names = [*inspect.signature(cls).parameters][1:]
        raise ValueError(
            f"data={{{unknown[0]!r}: ...}}: {cls.__name__} has no such argument{near(unknown[0], names)}: expected "
            f"some of {', '.join(names)}"
        )
    made: TaskData = cls(tokenizer, **{**sizes, **{k: v for k, v in given.items() if v is not None}, **options})
    return made


def _entry_of(task: Task) -> TaskEntry:
    for cls in type(task).__mro__:
        for entry in TASKS.values():
            if (entry.module, entry.task_class) == (cls.__module__, cls.__name__):
                return entry
    raise TypeError(
        f"task={type(task).__name__}: expected a task of the registry ({', '.join(TASKS)}), or data=(a TaskData) "
        "beside it: give its data module, which knows how its rows are tokenized"
    )


def _folder_of(model: Any) -> str:
    name = getattr(getattr(model, "config", None), "name_or_path", "") or ""
    if not name:
        raise ValueError(
            "Trainer(task=...): expected processing_class=(a tokenizer, its name or its folder) beside a model that "
            "was not loaded from a folder, received None"
        )
    return str(name)
