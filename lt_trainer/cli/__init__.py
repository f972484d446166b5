"""The command line: a thin front that finds out what is asked, and imports Lightning only where something is to run.

The order of a call::

    main                    picks the command; `demo` and `completion` go their own way
      line.scan             words and --options of the command line
      files.read            entries of the configuration files, each with its line
      names.Names           what may be set, read from the sources without importing them
      request.read_request  files and options merged, every problem found     <- bad input ends here, within a second
      lightning.run         LightningCLI makes the task, its data and raw Lightning flags
        commands.Commands   fit, validate, test, predict, search through `lt_trainer.Trainer`

`sys.argv` is left as it is: DDP starts further processes with it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "fit": "train a model and save it in output_dir",
    "validate": "measure a model on the validation rows",
    "test": "measure a model on the test rows",
    "predict": "write a prediction for each row as JSON lines",
    "search": "fit again and again with other arguments, and keep the best",
    "explain": "show what a configuration comes to: steps, devices, precision, who does what",
    "doctor": "say what could be done better, why, and the argument to set",
    "show": "print the first rows of a batch: tokens, labels and masks as they go into the model",
    "demo": "train a small text classifier on built-in text, or on a file of yours",
    "completion": "print a script that completes commands, options and values in bash, zsh or fish",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: without the program's name; None: `sys.argv[1:]`.

    Returns:
        The exit code: 0, 2 for input that cannot be used, 130 where the user interrupted, 141 where the reader of the
        output has gone.
    """
    from lt_trainer.cli import errors

    with errors.reported() as outcome:
        dispatch(list(sys.argv[1:] if argv is None else argv))
    return outcome.code


def dispatch(argv: list[str]) -> None:
    """Finds the command and runs it.

    Raises:
        ConfigurationError: no command, an unknown one, or what the command itself raises.
    """
    from lt_trainer.cli.line import split_command

    command, rest = split_command(argv, COMMANDS)
    if command is None:
        _about(rest[0])
    elif command == "demo":
        _demo(rest)
    elif command == "completion":
        from lt_trainer.cli.completion import completion

        print(completion(rest, COMMANDS), end="")
    else:
        _configured(command, rest)


def _about(option: str) -> None:
    if option == "--version":
        from lt_trainer import __version__

        print(f"lt-trainer {__version__}")
    else:
        from lt_trainer.cli.help import front_help

        print(front_help(COMMANDS))


def _demo(argv: list[str]) -> None:
    from lt_trainer import demo

    if code := demo.main(argv):
        raise SystemExit(code)


def _configured(command: str, argv: list[str]) -> None:
    from lt_trainer.cli.line import scan
    from lt_trainer.cli.request import read_request

    line = scan(argv)
    if line.wants("help", "h"):
        from lt_trainer.cli.help import command_help

        print(command_help(command, COMMANDS[command], line))
        return
    request = read_request(command, line)
    if request.print_config:
        print(request.as_yaml(), end="")
    elif command == "explain":
        from lt_trainer.cli.explain import explain_request

        print(explain_request(request))
    elif command == "doctor":
        from lt_trainer.cli.doctor import doctor_request

        print(doctor_request(request))
    elif command == "show":
        from lt_trainer.cli.show import show_request

        show_request(request)
    else:
        from lt_trainer.cli.lightning import run

        run(request)
