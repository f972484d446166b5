from __future__ import annotations

import importlib
import inspect

import pytest

from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan
from lt_trainer.brought import OWN
from lt_trainer.cli.names import ALIASES, OWNED, REPLACED, Names, Place
from lt_trainer.cli.sources import REQUIRED, parameters_of
from lt_trainer.tasks.registry import TASKS, find_task

CLASSIFICATION = TASKS["text-classification"]


def test_every_flag_of_the_plan_is_owned() -> None:
    flags = plan(TrainingArguments(output_dir="x"), Facts(num_train_rows=8)).trainer_flags
    assert flags.keys() <= {*OWNED, *OWN}


def test_owned_flags_are_flags_of_lightning() -> None:
    from lightning.pytorch import Trainer

    assert OWNED.keys() <= inspect.signature(Trainer.__init__).parameters.keys()


@pytest.mark.parametrize("task", TASKS)
def test_names_read_from_sources_are_those_of_the_classes(task: str) -> None:
    entry = find_task(task)
    module = importlib.import_module(entry.module)
    for name in (entry.task_class, entry.data_class):
        signature = inspect.signature(getattr(module, name)).parameters
        found = parameters_of(entry.module, name)
        assert [*found] == [*signature]
        for parameter in found.values():
            default = signature[parameter.name].default
            assert (default is inspect.Parameter.empty) == (parameter.default is REQUIRED)


@pytest.mark.parametrize("task", TASKS)
def test_everything_that_can_be_set_has_a_meaning(task: str) -> None:
    settable = Names(find_task(task)).settable
    assert [p.name for s in ("model", "data", "args") for p in settable[s].values() if not p.help] == []


@pytest.mark.parametrize("task", TASKS)
def test_names_that_are_hidden_exist(task: str) -> None:
    entry = find_task(task)
    model, data = (parameters_of(entry.module, name) for name in (entry.task_class, entry.data_class))
    assert REPLACED["model"].keys() | entry.linked.keys() <= model.keys()
    assert REPLACED["data"].keys() <= data.keys()


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_lead_somewhere(alias: str) -> None:
    assert isinstance(Names(CLASSIFICATION).find(alias), Place)


@pytest.mark.parametrize(
    ("name", "section", "parameter", "inside"),
    [
        ("learning_rate", "args", "learning_rate", ()),
        ("args.learning_rate", "args", "learning_rate", ()),
        ("lr_scheduler_kwargs.num_cycles", "args", "lr_scheduler_kwargs", ("num_cycles",)),
        ("text_column", "data", "text_column", ()),
        ("data.init_args.text_column", "data", "text_column", ()),
        ("trainer.profiler", "trainer", "profiler", ()),
        ("model.class_path", "model", "class_path", ()),
    ],
)
def test_names_lead_to_places(name: str, section: str, parameter: str, inside: tuple[str, ...]) -> None:
    place = Names(CLASSIFICATION).find(name)
    assert isinstance(place, Place)
    assert (place.section, place.parameter.name, place.inside) == (section, parameter, inside)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("learning_rte", "did you mean 'learning_rate'?"),
        ("args.learning_rte", "did you mean 'learning_rate'?"),
        ("data.text_colum", "did you mean 'text_column'?"),
        ("trainer.profilr", "did you mean 'profiler'?"),
        ("trainer.max_epochs", "use --num_train_epochs"),
        ("max_epochs", "use --num_train_epochs"),
        ("model.learning_rate", "use --learning_rate"),
        ("batch_size", "use --per_device_train_batch_size"),
        ("model.num_labels", "the rows decide it"),
        ("profiler", "write trainer.profiler"),
    ],
)
def test_names_that_lead_nowhere_say_what_to_write(name: str, problem: str) -> None:
    found = Names(CLASSIFICATION).find(name)
    assert isinstance(found, str)
    assert problem in found


def test_class_of_the_users_takes_any_name_but_those_decided_elsewhere() -> None:
    names = Names(CLASSIFICATION, ["model"])
    assert isinstance(names.find("model.depth"), Place)
    assert isinstance(names.find("model.learning_rate"), str)
    assert isinstance(names.find("data.depth"), str)


def test_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="text-classification"):
        find_task("ner")
