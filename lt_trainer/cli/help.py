"""Help texts, made of the names and meanings that names.py finds."""

from __future__ import annotations

import textwrap
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from lt_trainer.cli.files import READY
from lt_trainer.cli.names import FOLLOWS, Names
from lt_trainer.cli.sources import REQUIRED, Parameter
from lt_trainer.search_options import SearchOptions
from lt_trainer.tasks.registry import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.cli.line import Line

WIDTH = 118
USAGE = "usage: lt-trainer {command} [-c FILE ...] [--name value ...]"
EXAMPLES = """\
examples:
  lt-trainer demo
  lt-trainer fit -c text-classification --train_file train.csv --validation_file dev.csv --bf16
  lt-trainer test -c runs/text-classification/config.yaml --test_file test.csv
  lt-trainer search -c text-classification --train_file train.csv --validation_file dev.csv \\
    --space.learning_rate 1e-5..1e-3 log --space.per_device_train_batch_size 8 16 32 --n_trials 20
  lt-trainer predict --task text-classification --model runs/text-classification --test_file new.csv --output out.jsonl

`lt-trainer COMMAND --help` lists what can be set. LT_TRAINER_TRACEBACK=1 shows where an error came from."""


def _option(f: Field[Any]) -> str:
    expects = f.metadata["expects"]
    values = f"; one of {', '.join(expects)}" if isinstance(expects, tuple) else ""
    default = "" if f.default is None else f" ({f.default})"
    text = f"  {f'--{f.name}':<22} {f.metadata['help']}{values}{default}"
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * 25, break_on_hyphens=False)


COUNT = "  --num_rows N           rows of the training data, where no CSV, TSV or JSON-lines file tells"
OWN = {
    "predict": ["  --output FILE          for the JSON lines; without it they go to standard output"],
    "show": [
        "  --num_rows N           how many rows (4)",
        "  --split NAME           train, validation or test (train)",
    ],
    "explain": [COUNT],
    "doctor": [COUNT],
    "search": [
        "\nthe search, as --NAME or under search: in a file:",
        f"  {'--space.ARGUMENT':<22} where it is drawn from: 1e-5..1e-3 log, 8..64 step 8, or choices: 8 16 32",
        *(_option(f) for f in fields(SearchOptions) if f.name != "space"),
    ],
}


def front_help(commands: Mapping[str, str]) -> str:
    """The commands."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {meaning}" for name, meaning in commands.items()]
    usage = USAGE.format(command=f"{{{','.join(commands)}}}")
    return "\n".join([usage, "", "commands:", *lines, "", f"tasks: {', '.join(TASKS)}", "", EXAMPLES])


def command_help(command: str, meaning: str, line: Line) -> str:
    """What a command takes: files, the task's model and data, training arguments, raw Lightning flags."""
    chosen = [word for word in line.words if word in TASKS]
    chosen += [value for option in line.options if option.name == "task" for value in option.values if value in TASKS]
    task = (chosen or [*TASKS])[-1]
    names = Names(TASKS[task]).settable
    return "\n".join(
        [
            f"{USAGE.format(command=command)}\n\n{meaning}\n",
            "  -c, --config FILE      YAML or JSON with task:, model:, data:, args:, trainer:; the last one wins",
            f"                         ready: {', '.join(sorted(file.stem for file in READY.glob('*.yaml')))}",
            f"  --task NAME            {', '.join(TASKS)}",
            "  --print_config         show the whole configuration and stop",
            *OWN.get(command, ()),
            *_group(f"\nmodel of {task}, as --model.NAME (--model alone is --model.model):", names["model"], "model."),
            *_group(f"\ndata of {task}, as --data.NAME or --NAME:", names["data"], ""),
            *_group("\ntraining arguments (a switch is --bf16 or --no_bf16):", names["args"], ""),
            "\nraw flags of lightning.Trainer, as --trainer.NAME:",
            textwrap.fill(", ".join(names["trainer"]), WIDTH, initial_indent="  ", subsequent_indent="  "),
        ]
    )


def _group(title: str, parameters: Mapping[str, Parameter], prefix: str) -> list[str]:
    lines = [title]
    for p in parameters.values():
        default = FOLLOWS.get(p.name, "required") if p.default is REQUIRED else p.default
        shown = "" if default is None else f" ({default})"
        text = f"  {f'--{prefix}{p.name}':<33} {p.help}{shown}"
        lines.append(textwrap.fill(text, WIDTH, subsequent_indent=" " * 36, break_on_hyphens=False))
    return lines
