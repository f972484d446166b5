"""Entries of files and options of the command line become values, with every problem in one list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.plan import refusals
from lt_trainer.cli import values
from lt_trainer.cli.files import SECTIONS, Entry
from lt_trainer.cli.names import FOLLOWS, Names, Place
from lt_trainer.cli.sources import REQUIRED

if TYPE_CHECKING:
    from lt_trainer.cli.line import Option

# The splits that a command can use; the first that are there.
ALL = ("train", "validation", "test")
SPLITS = {
    **{"fit": ("train",), "validate": ("validation",), "test": ("test",), "predict": ("test", "validation")},
    "show": ALL,
    "search": ("train",),
}
TRAINS = ("fit", "search")  # commands that make a new model
DATA_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".conll")


class Merge:
    """Values by section and name, where each came from, and every problem so far."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self.origins: dict[tuple[str, str], str] = {}
        self.problems: list[str] = []

    def add_entry(self, entry: Entry) -> None:
        """Adds what a file says."""
        place = self.names.find(entry.name)
        if isinstance(place, str):
            self.problems.append(f"{entry.origin}: {place}")
        else:
            self._put(place, entry.value, f"{entry.origin}: ")

    def add_option(self, option: Option) -> None:
        """Adds what the command line says."""
        try:
            place, value = values.of_option(option, self.names)
        except ConfigurationError as error:
            self.problems += error.problems
        else:
            self._put(place, value, "")

    def _put(self, place: Place, value: Any, origin: str) -> None:
        section, name = self.values[place.section], place.parameter.name
        self.origins[place.section, name] = origin
        try:
            if place.inside:
                value = _set_inside(section.get(name), place.inside, value)
            section[name] = values.typed(place, value)
        except ConfigurationError as error:
            self.problems += [f"{origin}{problem}" for problem in error.problems]

    def fill(self, command: str) -> None:
        """Fills in what follows from the rest: the tokenizer from the model, a trained model from output_dir."""
        model, data = self.values["model"], self.values["data"]
        if command not in (*TRAINS, "show"):
            self._use_trained()
            for split in {*ALL} - {*SPLITS[command]}:  # read and tokenized for nothing
                data.pop(split, None)
        if "model" in model:
            data.setdefault("tokenizer", model["model"])

    def check_given(self, command: str) -> None:
        """Finds what is missing, names and files."""
        for section in ("data",) if command == "show" else ("model", "data"):
            for name, parameter in self.names.settable[section].items():
                given = (section, name) in self.origins or name in self.values[section] or name in FOLLOWS
                if parameter.default is REQUIRED and not given:
                    self.problems.append(f"{section}.{name} is missing: write --{section}.{name}, or set it in a file")
        splits = SPLITS[command]
        if self._takes(*splits) and not any(("data", name) in self.origins for name in (*splits, "dataset")):
            self.problems.append(f"{command} needs rows: give --{splits[0]}_file FILE (data.{splits[0]})")
        self.check_files(*(ALL if command in TRAINS else splits))

    def _given(self, *names: str) -> bool:
        """Whether any of some arguments of the data has a value."""
        return any(self.values["data"].get(name) is not None for name in names)

    def _takes(self, *splits: str) -> bool:
        """Whether the data takes such rows: a task may make its own, and of a class of the user's nobody knows."""
        return any(split in self.names.settable["data"] for split in splits)

    def _use_trained(self) -> None:
        """What `fit` left in output_dir is the model to measure, unless the command line names another."""
        folder = self.values["args"].get("output_dir")
        typed = self.origins.get(("model", "model")) == ""
        if folder and not typed and (Path(folder) / "config.json").is_file():
            self.values["model"]["model"] = str(folder)
            if self.origins.get(("data", "tokenizer")) != "":
                self.values["data"]["tokenizer"] = str(folder)

    def check_files(self, *splits: str) -> None:
        """Finds files of rows that are not there."""
        for split in splits:
            value = self.values["data"].get(split)
            if isinstance(value, str) and value.endswith(DATA_FILES) and not Path(value).expanduser().is_file():
                origin = self.origins.get(("data", split), "")
                problem = f"{origin}data.{split}={value!r}: there is no such file (from {Path.cwd()})"
                self.problems.append(f"{problem}; correct the path")

    def arguments(self, *, needs_output: bool) -> TrainingArguments:
        """The training arguments; their problems join the others."""
        given = dict(self.values["args"])
        if not needs_output:
            given.setdefault("output_dir", ".")
        try:
            args = TrainingArguments(**given)
            self.problems += [self._placed(problem) for problem in refusals(args)]
            return args
        except ConfigurationError as error:
            self.problems += [self._placed(problem) for problem in error.problems]
            return TrainingArguments(output_dir=".")

    def _placed(self, problem: str) -> str:
        name = problem.partition("=")[0]
        return f"{self.origins.get(('args', name), '')}{problem}"

    def check_evaluation(self, command: str) -> None:
        """An evaluation that is asked for needs rows, and so does a search, which judges trials by them."""
        if self._given("validation", "dataset") or not self._takes("validation"):
            return
        strategy = self.values["args"].get("eval_strategy", "no")
        remedy = "give --validation_file FILE (data.validation)"
        if command == "search":
            self.problems.append(f"search needs rows to judge trials by: {remedy}")
        elif strategy != "no":
            problem = f"eval_strategy={strategy!r} without evaluation rows: {remedy}"
            self.problems.append(self._placed(f"{problem}, or use 'no' with load_best_model_at_end=False"))


def _set_inside(value: Any, keys: tuple[str, ...], new: Any) -> dict[str, Any]:
    """A copy of a dict with a value put in at a path."""
    found = dict(value) if isinstance(value, Mapping) else {}
    found[keys[0]] = _set_inside(found.get(keys[0]), keys[1:], new) if len(keys) > 1 else new
    return found
