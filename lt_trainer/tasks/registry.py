"""The tasks by name. Plain text, so that the command line knows them without importing any."""

from __future__ import annotations

from typing import NamedTuple


class TaskEntry(NamedTuple):
    """Where a task lives: a module, its LightningModule and its data module."""

    module: str
    task_class: str
    data_class: str


TASKS = {
    "text-classification": TaskEntry(
        "lt_trainer.tasks.text_classification", "TextClassification", "TextClassificationData"
    ),
}


def find_task(name: str) -> TaskEntry:
    """The entry of a task.

    Raises:
        ValueError: there is no such task; lists those there are.
    """
    if name not in TASKS:
        raise ValueError(f"task {name!r}: expected one of {', '.join(TASKS)}")
    return TASKS[name]
