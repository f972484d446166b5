"""What may be set, section by section.

`args` are the fields of TrainingArguments, `model` and `data` the arguments of the task's two classes, `trainer` those
of `lightning.Trainer` that the arguments do not decide. Classes are read from their sources by `ast`, not imported: to
find a misspelling must not take the seconds that torch and Lightning need.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from lt_trainer.args.check import near
from lt_trainer.args.fields import TrainingArguments, default_of
from lt_trainer.args.former import FORMER, Renamed
from lt_trainer.cli.files import SECTIONS
from lt_trainer.cli.sources import Parameter, parameters_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lt_trainer.tasks.registry import TaskEntry

LIGHTNING = ("lightning", "pytorch/trainer/trainer.py", "Trainer")

# Raw flags of lightning.Trainer that the arguments decide, and what to use.
OWNED = {
    "accelerator": "--use_cpu, or leave it out: a GPU is used where there is one",
    "accumulate_grad_batches": "--gradient_accumulation_steps",
    "check_val_every_n_epoch": "--eval_strategy epoch",
    "default_root_dir": "--output_dir",
    "devices": "--devices",
    "enable_checkpointing": "--save_strategy",
    "enable_model_summary": "nothing: no summary is printed",
    "enable_progress_bar": "--disable_tqdm",
    "gradient_clip_algorithm": "--max_grad_norm, which clips by norm",
    "gradient_clip_val": "--max_grad_norm",
    "log_every_n_steps": "--logging_steps",
    "logger": "--report_to",
    "max_epochs": "--num_train_epochs",
    "max_steps": "--max_steps",
    "num_sanity_val_steps": "--eval_on_start",
    "use_distributed_sampler": "nothing: rows are always dealt out to the processes",
    "val_check_interval": "--eval_strategy steps --eval_steps",
}
# Arguments of the tasks for a plain lightning.Trainer, which TrainingArguments decide here.
REPLACED = {
    "model": {name: f"--{name}" for name in ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay")}
    | {"max_grad_norm": "--max_grad_norm"},
    "data": {
        "batch_size": "--per_device_train_batch_size",
        "eval_batch_size": "--per_device_eval_batch_size",
        "accumulation": "--gradient_accumulation_steps",
        "num_workers": "--dataloader_num_workers",
        "seed": "--data_seed",
    },
    "trainer": OWNED,
}
FOLLOWS = {"tokenizer": "as model"}  # required by the classes, filled in here
# What the example scripts of transformers call things.
ALIASES = {
    "model": "model.model",
    "model_name_or_path": "model.model",
    "tokenizer": "data.tokenizer",
    "tokenizer_name": "data.tokenizer",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "test_file": "data.test",
    "dataset_name": "data.dataset",
    "dataset_config_name": "data.dataset_config",
    "max_seq_length": "data.max_length",
    "text_column_name": "data.text_column",
    "label_column_name": "data.label_column",
}


@dataclass(frozen=True)
class Place:
    """Where a name leads: a parameter of a section, or a key inside its value (`lr_scheduler_kwargs.num_cycles`)."""

    section: str
    parameter: Parameter
    inside: tuple[str, ...] = ()


class Names:
    """The names of a task's configuration.

    Args:
        task: None where none was chosen: then `model` and `data` take any name.
        open_sections: sections whose class the user brings, so that only Lightning knows its arguments.
        options: of the command itself, which a misspelt name may mean.
    """

    def __init__(self, task: TaskEntry | None, open_sections: Iterable[str] = (), options: Iterable[str] = ()) -> None:
        self.options = tuple(options)
        self.open = {*open_sections, *(() if task else ("model", "data"))}
        self.linked: Mapping[str, str] = task.linked if task else {}
        self.sections: dict[str, Mapping[str, Parameter]] = {
            "model": parameters_of(task.module, task.task_class) if task and "model" not in self.open else {},
            "data": parameters_of(task.module, task.data_class) if task and "data" not in self.open else {},
            "args": arguments(),
            "trainer": parameters_of(*LIGHTNING),
        }
        self.settable = {section: self._settable(section) for section in SECTIONS}

    def _settable(self, section: str) -> dict[str, Parameter]:
        return {name: p for name, p in self.sections[section].items() if self._refusal(section, name) is None}

    def find(self, name: str) -> Place | str:
        """Where a dotted or a flat name leads, or what is wrong with it."""
        name = ALIASES.get(name, name)
        section, _, rest = name.partition(".")
        if former := _former(rest if section == "args" else name):
            return former
        if section not in SECTIONS:
            return self._find_flat(name)
        name, *inside = rest.removeprefix("init_args.").split(".")
        if problem := self._refusal(section, name):
            return problem
        if name in self.settable[section]:
            return Place(section, self.settable[section][name], tuple(inside))
        if section in self.open or (section in ("model", "data") and name == "class_path"):
            return Place(section, Parameter(name, "Any"), tuple(inside))
        return f"{section}.{name}: no such name{near(name, self.settable[section])}"

    def _find_flat(self, name: str) -> Place | str:
        first, *inside = name.split(".")
        owners = [section for section in ("args", "model", "data") if first in self.settable[section]]
        if owners:  # TrainingArguments come first
            return Place(owners[0], self.settable[owners[0]][first], tuple(inside))
        for section in ("data", "model", "trainer"):
            if problem := self._refusal(section, first):
                return problem
        if first in self.settable["trainer"]:
            return f"{first}: a raw flag of Lightning: write trainer.{first}"
        return f"{first}: no such name{near(first, self.flat_names())}"

    def _refusal(self, section: str, name: str) -> str | None:
        """Why a name is not the user's to set, and what is; None where it is."""
        if name in REPLACED.get(section, {}):
            return f"{section}.{name}: decided by the arguments; use {REPLACED[section][name]}"
        if section == "model" and name in self.linked:
            return f"{section}.{name}: the rows decide it (data.{self.linked[name]}); leave it out"
        return None

    def flat_names(self) -> list[str]:
        """All names that need no section."""
        return [
            *self.options,
            *ALIASES,
            "task",
            *(name for section in ("args", "model", "data") for name in self.settable[section]),
        ]


def _former(name: str) -> Place | None:
    """Where a former name of an argument leads: to today's, or to a switch that TrainingArguments translate."""
    row = FORMER.get(name)
    if not isinstance(row, Renamed):
        return None
    today = arguments()[row.today]
    translated = isinstance(row.read(today.default), bool) and "bool" not in today.kinds
    return Place("args", Parameter(name, "bool", help=today.help) if translated else today)


def arguments() -> dict[str, Parameter]:
    """The fields of TrainingArguments."""
    return {
        f.name: Parameter(f.name, str(f.type), default_of(f), f.metadata["help"]) for f in fields(TrainingArguments)
    }
