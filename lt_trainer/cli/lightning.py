"""LightningCLI for a request: it makes the task, its data module and raw Lightning flags, then runs the command.

TrainingArguments do not pass through its parser: it stops at the first problem, knows no file and line, and reads
text inside `dict[str, Any]` as numbers. They were read by the front.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli.commands import Commands
from lt_trainer.cli.merge import TRAINS
from lt_trainer.cli.names import OWNED
from lt_trainer.seeds import set_seed
from lt_trainer.tasks.registry import TASKS

if TYPE_CHECKING:
    from lt_trainer.cli.request import Request
    from lt_trainer.tasks.base import Task


def run(request: Request) -> None:
    """Runs a request.

    Raises:
        ConfigurationError: values that the task's classes or Lightning cannot take.
    """
    try:
        TaskCLI(request)
    except MisconfigurationException as error:
        raise ConfigurationError([str(error)]) from error


class Parser(LightningArgumentParser):
    """Raises where jsonargparse would print and exit, so that all problems are told in one way."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raises ConfigurationError with the parser's message on one line."""
        raise ConfigurationError([" ".join(message.split())]) from ex


class TaskCLI(LightningCLI):
    """LightningCLI without what is ours: seeds, optimizers, saved configuration, checkpoints; see `Commands`.

    Args:
        request: what to run; LightningCLI runs it as soon as it is made.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        super().__init__(
            save_config_callback=None,
            trainer_class=cast("type[pl.Trainer]", Commands),  # in Trainer's place: methods with the names of commands
            seed_everything_default=False,
            parser_class=Parser,
            args=self._arguments(),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def _arguments(self) -> dict[str, Any]:
        sections = copy.deepcopy(dict(self.request.sections))  # jsonargparse writes into what it parses
        paths = self.request.class_paths
        values: dict[str, Any] = {
            section: {"class_path": paths[section], "init_args": sections[section]} for section in ("model", "data")
        }
        values |= {"trainer": sections["trainer"], **self.request.options}
        return {"subcommand": self.request.command, self.request.command: values}

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that runs (a static method there, all of them): each takes a third of a second to set up."""
        return {self.request.command: {"model", "datamodule"}}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """`model`, `data`, and of `trainer` what the arguments do not decide."""
        parser.add_class_arguments(
            pl.Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True, skip=set(OWNED)
        )
        parser.add_argument("--model", type=pl.LightningModule, required=True)
        parser.add_argument("--data", type=pl.LightningDataModule, required=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """A model to train gets from the data what the task's row in the registry says; a trained one knows it."""
        if self.request.command in TRAINS and self.request.task is not None:
            for name, source in TASKS[self.request.task].linked.items():
                parser.link_arguments(f"data.{source}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """As there, without its warning that `sys.argv` is not empty."""
        self.config = parser.parse_object(args)

    def before_instantiate_classes(self) -> None:
        """Seeds before the head of the model is drawn."""
        set_seed(self.request.args.seed)

    def instantiate_classes(self) -> None:
        """As there, by the name that jsonargparse does not warn of."""
        self.config_init = self.parser.instantiate(self.config)
        self.datamodule, self.model = self._get(self.config_init, "data"), self._get(self.config_init, "model")
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """What runs the commands in Lightning's place, with the raw flags that were given."""
        made = self._get(self.config_init, "trainer")
        flags = {name: made[name] for name in self.request.sections["trainer"]}
        name = str(self.request.sections["model"].get("model", self.request.class_paths["model"]))
        commands = Commands(
            self.request.args,
            flags,
            config=self.request.as_yaml(),
            model_name=name,
            search=self.request.search,
            make_task=self.make_task,
            config_of=lambda args: self.request.fitting(**args).as_yaml(),
        )
        return cast("pl.Trainer", commands)

    def make_task(self) -> Task:
        """Another task like the first, with a model of its own, as `fit` would make it."""
        assert self.request.task is not None
        linked = TASKS[self.request.task].linked.items()
        given = self._get(self.config, "model")["init_args"].as_dict()
        from_data = {name: getattr(self.datamodule, source) for name, source in linked}
        task: Task = type(self.model)(**{**given, **from_data})
        return task
