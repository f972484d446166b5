from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer import cli
from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli.errors import message, reported

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


def test_help_lists_the_commands_and_tasks(lt_trainer: Run) -> None:
    answer = lt_trainer("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in (*cli.COMMANDS, "text-classification"))


def test_front_answers_in_half_a_second_without_torch(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("task: text-classification\nargs:\n  learning_rte: 1\n")
    script = f"""
import os, sys
from lt_trainer.cli import main
assert main(["--help"]) == 0 and main(["fit", "--help"]) == 0 and main(["completion", "bash"]) == 0
assert main(["fit", "-c", {str(tmp_path / "bad.yaml")!r}]) == 2
assert main(["fit", "-c", "text-classification", "--print_config"]) == 0
assert not {{"torch", "lightning", "numpy", "jsonargparse"}} & sys.modules.keys()
assert sum(os.times()[:2]) < 1, os.times()  # all five together
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("argv", [[], ["-c", "text-classification"]])
def test_missing_command_lists_the_choices(lt_trainer: Run, argv: list[str]) -> None:
    answer = lt_trainer(*argv)
    assert answer.code == 2
    assert "the command is missing" in answer.err
    assert ", ".join(cli.COMMANDS) in answer.err


def test_unknown_command_names_the_nearest(lt_trainer: Run) -> None:
    answer = lt_trainer("prdict")
    assert (answer.code, answer.out) == (2, "")
    assert "did you mean 'predict'?" in answer.err


def test_option_before_the_command_says_how_to_write_it(lt_trainer: Run) -> None:
    assert "write lt-trainer fit --bf16" in lt_trainer("--bf16", "fit").err


def test_config_before_and_after_the_command_is_the_same(lt_trainer: Run) -> None:
    before = lt_trainer("-c", "text-classification", "fit", "--print_config", "--seed", 7)
    after = lt_trainer("fit", "--config=text-classification", "--print_config", "--seed", 7)
    assert before == after
    assert "  seed: 7\n" in before.out


def test_rank_of_a_launcher_before_the_command_is_passed_over(lt_trainer: Run) -> None:
    assert lt_trainer("--local-rank=1", "fit", "-c", "text-classification", "--print_config").code == 0


@pytest.mark.parametrize("argv", [["--version"], ["fit", "--help"]])  # within the buffer of the output, and beyond it
def test_output_that_nobody_reads_ends_quietly(argv: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = f"import sys; from lt_trainer.cli import main; sys.exit(main({argv}))"
    answer = subprocess.run([sys.executable, "-c", script], check=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (141, b"")


def test_another_broken_pipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with reported() as outcome:
        raise BrokenPipeError(32, "of a worker")
    assert outcome.code == 2
    assert "of a worker" in capsys.readouterr().err


def test_demo_gets_its_arguments_and_its_exit_code_counts(lt_trainer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    fake = types.ModuleType("lt_trainer.demo")
    fake.main = lambda argv: seen.append(argv) or 3  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "lt_trainer.demo", fake)
    monkeypatch.setattr("lt_trainer.demo", fake, raising=False)
    with pytest.raises(SystemExit, match="3"):
        cli.main(["demo", "--train_file", "x.csv"])
    assert seen == [["--train_file", "x.csv"]]


def test_argv_of_the_process_is_left_alone(lt_trainer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["lt-trainer", "fit", "-c", "text-classification", "--print_config", "--bf16"]
    monkeypatch.setattr(sys, "argv", [*argv])
    assert cli.main() == 0
    assert sys.argv == argv


def test_explain_shows_the_plan_of_a_file(lt_trainer: Run, rows: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"args: {{output_dir: x, num_train_epochs: 2}}\ndata: {{train: {rows['train']}}}\n")
    answer = lt_trainer("explain", config, "--per_device_train_batch_size", 5)
    assert answer.code == 0
    assert "8 (2 epochs of 4)" in answer.out  # 16 rows in batches of 5


def test_explain_asks_for_rows_that_it_cannot_count(lt_trainer: Run) -> None:
    assert "write --num_rows N" in lt_trainer("explain", "--output_dir", "x").err
    assert "39 (3 epochs of 13)" in lt_trainer("explain", "--output_dir", "x", "--num_rows", 100).out


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigurationError(["a=1: bad", "b=2: worse"]), 2, "2 errors:\n  - a=1: bad\n  - b=2: worse"),
        (ValueError("row 3: label 7"), 2, "error: row 3: label 7"),
        (FileNotFoundError("no folder x"), 2, "no folder x"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_the_user_are_one_message(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    with reported() as outcome:
        raise error
    assert outcome.code == code
    assert text in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError), reported():
        raise RuntimeError("ours")


def test_traceback_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_TRAINER_TRACEBACK", "1")
    with pytest.raises(ConfigurationError):
        cli.main([])


def test_only_the_first_process_of_a_machine_speaks(lt_trainer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert lt_trainer("nothing") == (2, "", "")


def test_one_problem_is_no_list() -> None:
    assert message(["only this"]) == "error: only this"
