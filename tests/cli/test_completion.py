"""The scripts are run by the shells that they are for, where those are installed; bash is everywhere."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer.cli import COMMANDS
from lt_trainer.cli.completion import completion
from lt_trainer.cli.names import Names
from lt_trainer.tasks.registry import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = [
    ("lt-trainer pre", {"predict"}),
    ("lt-trainer fit --eval_st", {"--eval_strategy", "--eval_steps"}),
    ("lt-trainer fit --bf16 --save_strategy b", {"best"}),
    ("lt-trainer fit cau", {"causal-lm"}),
    ("lt-trainer fit --task question", {"question-answering"}),
    ("lt-trainer fit -c seq2", {"seq2seq"}),
    ("lt-trainer show --spl", {"--split"}),
    ("lt-trainer show --split va", {"validation"}),
    ("lt-trainer search --n_tr", {"--n_trials"}),
    ("lt-trainer search --space.learning_", {"--space.learning_rate"}),
    ("lt-trainer search --pruner h", {"hyperband"}),
    ("lt-trainer predict --outp", {"--output", "--output_dir"}),
    ("lt-trainer demo --eval_", {"--eval_file"}),
    ("lt-trainer fit --trainer.prof", {"--trainer.profiler"}),
    ("lt-trainer completion f", {"fish"}),
]
BASH = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lt_trainer; printf "%s\\n" "${COMPREPLY[@]}"'
ZSH = """
compadd() { shift; print -rl -- ${(M)@:#${words[CURRENT]}*} }
_files() { : }
compdef() { : }
source $1; shift; words=("$@"); CURRENT=$#; _lt_trainer
"""


def answer(shell: str, script: Path, line: str) -> set[str]:
    if shell == "fish":
        command = ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"]
    else:
        words = line.split(" ")
        command = ["bash", "-c", BASH, "bash"] if shell == "bash" else ["zsh", "-f", "-c", ZSH, "zsh"]
        command += [str(script), *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=script.parent)
    assert ended.stderr == ""
    return {line.split("\t")[0] for line in ended.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_values(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(completion([shell], COMMANDS))
    for line, expected in CASES:
        assert answer(shell, tmp_path / "script", line) == expected, line


def test_bash_completes_a_value_behind_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion(["bash"], COMMANDS))
    assert answer("bash", tmp_path / "script", "lt-trainer fit --eval_strategy = ep") == {"epoch"}


def test_bash_completes_configuration_files_beside_the_ready_ones(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion(["bash"], COMMANDS))
    (tmp_path / "text-mine.yaml").touch()
    assert answer("bash", tmp_path / "script", "lt-trainer fit -c text") == {"text-classification", "text-mine.yaml"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_argument_of_every_task_is_there_and_none_that_is_refused(shell: str) -> None:
    script = completion([shell], COMMANDS)
    dash = " -l {} " if shell == "fish" else "--{} "
    script = script.replace('"', " ").replace("\n", " ")
    for task in TASKS.values():
        for name in Names(task).settable["data"]:
            assert dash.format(name) in script
        for name in Names(task).settable["model"]:
            assert dash.format(f"model.{name}") in script
    assert dash.format("learning_rate") in script
    assert dash.format("use_liger_kernel") not in script
    assert all(command in script for command in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell_is_refused_with_those_there_are(lt_trainer: Callable[..., Any], argv: list[str]) -> None:
    answer = lt_trainer("completion", *argv)
    assert answer.code == 2
    assert "expected a shell, one of bash, zsh, fish" in answer.err
