from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from lt_trainer.tasks.registry import TASKS, TaskEntry, find_task


@pytest.mark.parametrize("name", TASKS)
def test_a_row_leads_to_a_task_and_its_data(name: str) -> None:
    from lt_trainer.datamodule import TaskData
    from lt_trainer.tasks.base import Task

    entry = find_task(name)
    module = importlib.import_module(entry.module)
    assert issubclass(getattr(module, entry.task_class), Task)
    assert issubclass(getattr(module, entry.data_class), TaskData)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_linked_is_an_argument_of_the_task_and_an_attribute_of_its_data(name: str) -> None:
    entry = find_task(name)
    module = importlib.import_module(entry.module)
    assert entry.linked.keys() <= inspect.signature(getattr(module, entry.task_class)).parameters.keys()
    assert all(hasattr(getattr(module, entry.data_class), source) for source in entry.linked.values())


@pytest.mark.parametrize("name", ["ner", "", "Text-Classification"])
def test_an_unknown_task_lists_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=f"task '{name}': expected one of .*text-classification"):
        find_task(name)


def test_a_task_need_not_link_anything() -> None:
    assert dict(TaskEntry("a.module", "Task", "Data").linked) == {}


def test_reading_the_registry_imports_no_task() -> None:
    code = (
        "import sys, lt_trainer.tasks.registry\n"
        "print([m for m in ('torch', 'lightning', 'lt_trainer.tasks.base') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
