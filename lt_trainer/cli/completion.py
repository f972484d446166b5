"""`lt-trainer completion SHELL`: a script that completes commands, options and values, of what the parser knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from string import Template
from typing import TYPE_CHECKING

from lt_trainer.args.check import ConfigurationError, near
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.plan import REFUSED
from lt_trainer.cli.files import READY
from lt_trainer.cli.line import BARE
from lt_trainer.cli.merge import ALL
from lt_trainer.cli.names import ALIASES, Names
from lt_trainer.cli.request import OPTIONS
from lt_trainer.demo import parser
from lt_trainer.search_options import PER_TRIAL, SearchOptions
from lt_trainer.tasks.registry import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.cli.sources import Parameter

SHELLS = ("bash", "zsh", "fish")
PLAIN = ("demo", "completion")  # commands that take no configuration
SWITCH = ("true", "false")
SPACELESS = tuple(f"space.{name}" for name in PER_TRIAL)

BASH = """\
# for this shell: eval "$$(lt-trainer completion bash)"; for all: that line in ~/.bashrc
_lt_trainer() {
  local word="$${COMP_WORDS[COMP_CWORD]}" before="$${COMP_WORDS[COMP_CWORD-1]}" command="" options="" values="" i
  if [[ $$word == "=" ]]; then word=""; before="$${COMP_WORDS[COMP_CWORD-1]}"
  elif [[ $$before == "=" ]]; then before="$${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$${COMP_WORDS[i]}" in $commands_or) command="$${COMP_WORDS[i]}"; break ;; esac
  done
$cases
  COMPREPLY=($$(compgen -W "$$values" -- "$$word"))
  if [[ $$before == -c || $$before == --config ]]; then COMPREPLY+=($$(compgen -f -- "$$word")); fi
}
complete -o bashdefault -o default -F _lt_trainer lt-trainer
"""

ZSH = """\
#compdef lt-trainer
# for this shell: eval "$$(lt-trainer completion zsh)" after compinit; for all: as _lt-trainer in a folder of fpath
_lt_trainer() {
  local word=$$words[CURRENT] before=$$words[CURRENT-1] command= options= values= i
  for ((i = 2; i < CURRENT; i++)); do
    case $$words[i] in $commands_or) command=$$words[i]; break ;; esac
  done
$cases
  if [[ -z $$values ]]; then _files
  elif [[ $$before == -c || $$before == --config ]]; then compadd -- $${=values}; _files
  else compadd -- $${=values}; fi
}
if [[ $$funcstack[1] == _lt-trainer ]]; then _lt_trainer; else compdef _lt_trainer lt-trainer; fi
"""

# The same in both: which words may stand here.
CASES = """\
  local common="$common"
  case "$$command" in
$own
    *) options="$$common" ;;
  esac
  case "$$before" in
$valued
    *) if [[ -z $$command ]]; then values="$commands -c --config --help --version"
       elif [[ $$word == -* ]]; then values="$$options"
       elif [[ $$before == "$$command" ]]; then values="$words"
       fi ;;
  esac"""


@dataclass(frozen=True)
class Known:
    """An option without its dashes: what it means, and the values that it takes where they can be listed."""

    name: str
    help: str = ""
    values: tuple[str, ...] = ()


def completion(argv: list[str], commands: Mapping[str, str]) -> str:
    """The script for a shell.

    Raises:
        ConfigurationError: not one shell, or one that is not known.
    """
    shells = dict(zip(SHELLS, (_posix, _posix, _fish), strict=True))
    if len(argv) != 1 or argv[0] not in shells:
        problem = f"completion: expected a shell, one of {', '.join(shells)}, received {' '.join(argv) or 'nothing'}"
        raise ConfigurationError(
            [f"{problem}{near(argv[0] if argv else '', shells)}; write lt-trainer completion bash"]
        )
    return shells[argv[0]](argv[0], commands)


@cache
def common() -> tuple[Known, ...]:
    """Options of every command that takes a configuration, of all tasks together."""
    ready = tuple(sorted(file.stem for file in READY.glob("*.yaml")))
    found = {"config": Known("config", "YAML or JSON file", ready), "task": Known("task", "what to do", tuple(TASKS))}
    found |= {name: Known(name) for name in BARE if name != "version"}
    allowed = {f.name: _listed(f.metadata.get("expects")) for f in fields(TrainingArguments)}
    for task in TASKS.values():
        names = Names(task).settable
        for prefix, section in (("", "args"), ("", "data"), ("model.", "model"), ("trainer.", "trainer")):
            for p in (p for name, p in names[section].items() if section != "args" or name not in REFUSED):
                values = allowed.get(p.name, ()) if section == "args" else ()
                known = _known(f"{prefix}{p.name}", p, values)
                found.setdefault(known.name, known)
                if known.values == SWITCH and p.default is True:
                    found.setdefault(f"no_{p.name}", Known(f"no_{p.name}", f"not: {p.help}"))
    found |= {name: Known(name, f"as {place}") for name, place in ALIASES.items() if name not in found}
    return tuple(found.values())


def own(command: str) -> list[Known]:
    """Options of one command alone."""
    if command == "demo":
        return [Known(name) for name in dict.fromkeys(re.findall(r"--(\w+)", parser().format_help()))]
    if command == "search":
        found = [Known(f.name, f.metadata["help"], _listed(f.metadata["expects"])) for f in fields(SearchOptions)]
        spaces = [Known(f"space.{f.name}", f"where {f.name} is drawn from") for f in fields(TrainingArguments)]
        return [known for known in (*found, *spaces) if known.name not in ("space", *SPACELESS)]
    return [Known(name, values=ALL if name == "split" else ()) for name in OPTIONS.get(command, ())]


def _known(name: str, parameter: Parameter, values: tuple[str, ...]) -> Known:
    return Known(name, parameter.help, values or (SWITCH if "bool" in parameter.kinds else ()))


def _listed(expects: object) -> tuple[str, ...]:
    """The values that a field allows; none where it allows a range."""
    if isinstance(expects, str) or not isinstance(expects, Iterable):
        return ()
    values = [value.value if isinstance(value, Enum) else value for value in expects]
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str) and value.islower()))


def _posix(shell: str, commands: Mapping[str, str]) -> str:
    cases = [("-c|--config" if known.name == "config" else f"--{known.name}", known.values) for known in common()]
    cases += [(f"--{known.name}", known.values) for name in commands for known in own(name)]
    cases.append(("completion", SHELLS))
    valued = [f'    {name}) values="{" ".join(values)}" ;;' for name, values in dict(cases).items() if values]
    known = [f'    {name}) options="{_dashed(own(name))}{_rest(name)}" ;;' for name in commands if own(name)]
    here = Template(CASES).substitute(
        own="\n".join(known),
        common=_dashed(common()),
        valued="\n".join(valued),
        commands=" ".join(commands),
        words=" ".join(TASKS),
    )
    return Template(BASH if shell == "bash" else ZSH).substitute(commands_or="|".join(commands), cases=here)


def _rest(command: str) -> str:
    return "" if command in PLAIN else " $common"


def _dashed(options: Iterable[Known]) -> str:
    return " ".join(f"--{known.name}" for known in options)


def _fish(shell: str, commands: Mapping[str, str]) -> str:
    """Fish knows options one by one, each with its meaning."""
    configured = " ".join(name for name in commands if name not in PLAIN)
    lines = [f"# for this shell: lt-trainer completion {shell} | source"]
    lines += [
        f"complete -c lt-trainer -n __fish_use_subcommand -f -a {name} -d {shlex.quote(meaning)}"
        for name, meaning in commands.items()
    ]
    lines += [_fish_line(configured, known) for known in common()]
    lines += [_fish_line(name, known) for name in commands for known in own(name)]
    lines.append(f"complete -c lt-trainer -n '__fish_seen_subcommand_from {configured}' -a '{' '.join(TASKS)}'")
    lines.append(f"complete -c lt-trainer -n '__fish_seen_subcommand_from completion' -f -a '{' '.join(SHELLS)}'")
    return "\n".join(lines) + "\n"


def _fish_line(commands: str, known: Known) -> str:
    short = " -s c" if known.name == "config" else ""
    meaning = f" -d {shlex.quote(known.help)}" if known.help else ""
    values = f" -{'r' if known.name == 'config' else 'x'} -a '{' '.join(known.values)}'" if known.values else ""
    takes = values or ("" if known.name in BARE or known.name.startswith("no_") else " -r")
    return f"complete -c lt-trainer -n '__fish_seen_subcommand_from {commands}'{short} -l {known.name}{takes}{meaning}"
