"""Files and options become a `Request`: what is to run, checked as far as it can be without importing torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import yaml

from lt_trainer.args.check import ConfigurationError, near, raise_if
from lt_trainer.args.fields import TrainingArguments, default_of
from lt_trainer.cli import files
from lt_trainer.cli.files import Entry
from lt_trainer.cli.merge import TRAINS, Merge
from lt_trainer.cli.names import Names
from lt_trainer.cli.search import FLAGS, SECTION, SearchReader, take_options
from lt_trainer.tasks.registry import TASKS, TaskEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.cli.line import Line, Option
    from lt_trainer.search_options import SearchOptions

LOOKS = ("explain", "doctor")  # commands that look at arguments alone, so that a task is not needed
OPTIONS = {  # of a command itself
    **{"predict": ("output",), "show": ("num_rows", "split"), "search": FLAGS},
    **dict.fromkeys(LOOKS, ("num_rows",)),
}


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        command: one that takes a configuration.
        task: its name; None only for explain and doctor.
        args: the training arguments, read and checked.
        sections: what was given, by section and name.
        class_paths: of `model` and `data`.
        options: of the command itself.
        print_config: show the configuration in place of running it.
        search: what a search is asked for; None for other commands, which pass over `search:` in a file.
    """

    command: str
    task: str | None
    args: TrainingArguments
    sections: Mapping[str, Mapping[str, Any]]
    class_paths: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    print_config: bool = False
    search: SearchOptions | None = None

    def as_dict(self) -> dict[str, Any]:
        """The configuration in the form of a file: it makes the same run again.

        Arguments that were not given stand there with their defaults, so that a later version runs the same; what
        follows from others (`logging_dir`) is left to follow again; tokens are left out.
        """
        defaults = {f.name: default_of(f) for f in fields(TrainingArguments)}
        args = defaults | dict(self.sections["args"])
        args |= {name: None for name in args if name.endswith("_token")}
        found: dict[str, Any] = {} if self.task is None else {"task": self.task}
        for section in ("model", "data"):
            own = self.class_paths.get(section) != _own_class(self.task, section)
            found[section] = {**({"class_path": self.class_paths[section]} if own else {}), **self.sections[section]}
        found["args"] = args
        found |= {"trainer": dict(self.sections["trainer"])} if self.sections["trainer"] else {}
        return found | ({} if self.search is None else {"search": self.search.as_dict()})

    def fitting(self, **args: Any) -> Request:
        """The request that fits with other arguments in place of searching for them."""
        sections = {**self.sections, "args": {**self.sections["args"], **args}}
        return replace(self, command="fit", sections=sections, search=None)

    def as_yaml(self) -> str:
        """`as_dict` as YAML that reads back to the same values."""
        plain = json.loads(json.dumps(self.as_dict()))  # tuples and enums become what YAML has
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def read_request(command: str, line: Line) -> Request:
    """Merges files (left to right) and options (after them), and checks all of it.

    Raises:
        ConfigurationError: with every problem, each with its file and line where it has one.
    """
    print_config = bool(line.take("print_config"))
    entries, task = _read_files(command, line)
    if task is None and command not in LOOKS:
        known = ", ".join(TASKS)
        raise ConfigurationError([f"the task is missing: expected one of {known}; write --task {next(iter(TASKS))}"])
    reader = SearchReader()
    if command == "search":
        reader.add_entries(entry for entry in entries if entry.name.startswith(SECTION))
        reader.add_options(take_options(line))
    entries = [entry for entry in entries if not entry.name.startswith(SECTION)]
    options = {option.name: _one(option) for option in line.take(*OPTIONS.get(command, ()))}
    own_classes = {e.name.partition(".")[0] for e in entries if e.name in ("model.class_path", "data.class_path")}
    own_classes |= {o.name.partition(".")[0] for o in line.options if o.name in ("model.class_path", "data.class_path")}
    merge = Merge(Names(None if task is None else TASKS[task], own_classes, OPTIONS.get(command, ())))
    for entry in entries:
        merge.add_entry(entry)
    for option in line.options:
        merge.add_option(option)
    if command not in LOOKS:
        merge.fill(command)
        if not print_config:
            merge.check_given(command)
    else:
        merge.check_files("train")
    needs_all = command in TRAINS and not print_config
    args = merge.arguments(needs_output=needs_all)
    if needs_all:
        merge.check_evaluation(command)
    search = reader.options() if command == "search" else None
    raise_if(merge.problems + reader.problems)
    class_paths = {s: merge.values[s].pop("class_path", _own_class(task, s)) for s in ("model", "data") if task}
    return Request(command, task, args, merge.values, class_paths, options, print_config, search)


def _read_files(command: str, line: Line) -> tuple[list[Entry], str | None]:
    """Entries of all configuration files, and the task by the last that names one."""
    configs = line.take("config")
    names = [option.values[0] if option.values else "" for option in configs]
    tasks = []
    for word in [word for option in configs for word in option.values[1:]] + line.words:
        if word in TASKS:
            tasks.append(Entry("task", word, word))
        elif word.endswith((".yaml", ".yml", ".json")) or command in (*LOOKS, "show"):
            names.append(word)
        else:
            problem = f"{word!r}: expected a task ({', '.join(TASKS)}), a .yaml file or --options{near(word, TASKS)}"
            raise ConfigurationError([f"{problem}; a value stands behind its option, --name {word}"])
    entries = [entry for name in names for entry in files.read(name)]
    tasks = [e for e in entries if e.name == "task"] + tasks
    tasks += [Entry("task", _one(option), f"--{option.typed[2:]}") for option in line.take("task")]
    for entry in tasks:
        if entry.value not in TASKS:
            listed = ", ".join(TASKS)
            problem = f"{entry.origin}: task {entry.value!r} does not exist: expected one of {listed}"
            raise ConfigurationError([problem + near(entry.value, TASKS)])
    return [e for e in entries if e.name != "task"], tasks[-1].value if tasks else None


def _one(option: Option) -> str:
    if len(option.values) != 1:
        problem = f"{option.typed}: expected one value after it, received {len(option.values)}"
        raise ConfigurationError([f"{problem}; write {option.typed} {' '.join(option.values[:1]) or 'VALUE'}"])
    return option.values[0]


def _own_class(task: str | None, section: str) -> str:
    entry: TaskEntry = TASKS[task or next(iter(TASKS))]
    return f"{entry.module}.{entry.task_class if section == 'model' else entry.data_class}"
