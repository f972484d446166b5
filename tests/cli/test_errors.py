from __future__ import annotations

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.cli.errors import TRACEBACK, message, reported


@pytest.fixture(autouse=True)
def usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TRACEBACK, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def code_of(error: BaseException | None) -> int:
    with reported() as outcome:
        if error is not None:
            raise error
    return outcome.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (KeyboardInterrupt(), 130),
        (ConfigurationError(["seed=-1"]), 2),
        (ValueError("row 3"), 2),
        (FileNotFoundError("no such folder"), 2),
        (NotImplementedError("not yet"), 2),
        (ModuleNotFoundError("pip install it"), 2),
    ],
)
def test_what_a_user_can_mend_has_its_exit_code(error: BaseException | None, code: int) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize("error", [TypeError("bug"), AssertionError("bug"), SystemExit(3)])
def test_what_only_we_can_mend_goes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        code_of(error)


def test_success_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(None)
    assert capsys.readouterr() == ("", "")


def test_problems_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(ConfigurationError(["seed=-1: expected 0 or more"]))
    assert capsys.readouterr() == ("", "lt-trainer: error: seed=-1: expected 0 or more\n")


def test_an_error_that_is_no_configurations_tells_how_to_see_where(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(ValueError("row 3"))
    assert capsys.readouterr().err == f"lt-trainer: error: row 3\n  ({TRACEBACK}=1 shows where)\n"


def test_an_error_of_the_system_names_the_file_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(PermissionError(13, "This folder cannot be written", "runs/a")) == 2
    assert "error: runs/a: This folder cannot be written\n" in capsys.readouterr().err


def test_one_process_of_a_machine_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert code_of(ValueError("row 3")) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("setting", "shows"), [("1", True), ("0", False), ("", False)])
def test_a_traceback_comes_on_demand(monkeypatch: pytest.MonkeyPatch, setting: str, shows: bool) -> None:
    monkeypatch.setenv(TRACEBACK, setting)
    if shows:
        with pytest.raises(ValueError, match="row 3"):
            code_of(ValueError("row 3"))
    else:
        assert code_of(ValueError("row 3")) == 2


@pytest.mark.parametrize(
    ("problems", "text"),
    [(["a"], "error: a"), (["a", "b"], "2 errors:\n  - a\n  - b")],
)
def test_several_problems_are_a_list(problems: list[str], text: str) -> None:
    assert message(problems) == text
