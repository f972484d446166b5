from __future__ import annotations

from lt_trainer.cli.line import Option, scan, split_command

COMMANDS = ("fit", "test")


def test_command_is_found_behind_configs() -> None:
    assert split_command(["-c", "fit.yaml", "fit", "--x"], COMMANDS) == ("fit", ["-c", "fit.yaml", "--x"])


def test_what_follows_the_command_is_not_looked_at() -> None:
    assert split_command(["test", "fit", "--help"], COMMANDS) == ("test", ["fit", "--help"])


def test_options_take_all_that_follows_them() -> None:
    line = scan(["task", "--bf16", "--lr", "-1e-3", "--label-names", "a", "b", "--x=--y", "-c", "f.yaml"])
    assert line.words == ["task"]
    assert line.options == [
        Option("bf16", (), "--bf16"),
        Option("lr", ("-1e-3",), "--lr"),
        Option("label_names", ("a", "b"), "--label-names"),
        Option("x", ("--y",), "--x"),
        Option("config", ("f.yaml",), "--config"),
    ]


def test_print_config_swallows_nothing() -> None:
    line = scan(["--print_config", "text-classification"])
    assert line.words == ["text-classification"]
    assert line.wants("print_config")


def test_taken_options_are_gone() -> None:
    line = scan(["--a", "1", "--b", "2"])
    assert [option.values for option in line.take("a")] == [("1",)]
    assert [option.name for option in line.options] == ["b"]
