"""The command line as words and options; what an option means is up to names.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lt_trainer.args.check import ConfigurationError, near

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHORT = {"-c": "--config", "-h": "--help"}
BARE = ("help", "version", "print_config")  # options that never take a value


@dataclass(frozen=True)
class Option:
    """`--name value value`, or `--name` alone. `typed` is the name as it stands on the line."""

    name: str
    values: tuple[str, ...]
    typed: str


@dataclass
class Line:
    """What follows the command.

    Attributes:
        words: tokens that belong to no option.
        options: in the order of the line.
    """

    words: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)

    def wants(self, *names: str) -> bool:
        """Whether an option of one of these names is there."""
        return any(option.name in names for option in self.options)

    def take(self, *names: str) -> list[Option]:
        """Removes the options of these names and returns them."""
        taken = [option for option in self.options if option.name in names]
        self.options = [option for option in self.options if option.name not in names]
        return taken


def split_command(argv: Sequence[str], commands: Iterable[str]) -> tuple[str | None, list[str]]:
    """The command and everything else; `-c FILE` and a launcher's `--local-rank=N` may stand before it.

    Returns:
        (None, ["--help"]) or (None, ["--version"]) where one of these is asked for without a command.

    Raises:
        ConfigurationError: there is no command, or it is unknown.
    """
    commands = list(commands)
    tokens, moved = [token for token in argv if not token.startswith(("--local-rank=", "--local_rank="))], []
    while tokens:
        token = tokens.pop(0)
        if token in ("-h", "--help", "--version"):
            return None, ["--version" if token == "--version" else "--help"]
        if token in ("-c", "--config"):
            moved += [token, *tokens[:1]]
            tokens = tokens[1:]
        elif token.startswith("--config="):
            moved.append(token)
        elif token.startswith("-"):
            problem = f"{token} stands where a command was expected: write lt-trainer {commands[0]} {token} ..."
            raise ConfigurationError([f"{problem} (commands: {', '.join(commands)})"])
        elif token in commands:
            return token, moved + tokens
        else:
            listed = ", ".join(commands)
            raise ConfigurationError([f"{token!r} is no command: expected one of {listed}{near(token, commands)}"])
    raise ConfigurationError([f"the command is missing: expected one of {', '.join(commands)}; lt-trainer --help"])


def scan(argv: Iterable[str]) -> Line:
    """Words and options. A value may begin with one dash (`--learning_rate -1e-3`); `--a=--b` gives one with two."""
    line, values = Line(), list[str]()
    found: list[tuple[str, str, list[str]]] = []
    for token in argv:
        token = SHORT.get(token, token)
        if token.startswith("--"):
            typed, equals, value = token.partition("=")
            name, values = typed[2:].replace("-", "_"), [value] if equals else []
            found.append((name, typed, values))
        elif found and found[-1][0] not in BARE:
            values.append(token)
        else:
            line.words.append(token)
    line.options = [Option(name, tuple(values), typed) for name, typed, values in found]
    return line
