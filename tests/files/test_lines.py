from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from lt_trainer.files import LineFile
from lt_trainer.files.ops import OPS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def entries(count: int) -> list[dict[str, float]]:
    return [{"step": step, "loss": step / 2} for step in range(1, count + 1)]


def test_each_line_is_in_the_file_when_append_returns(path: Path) -> None:
    lines = LineFile(path)
    for count in (1, 2):
        lines.append({"step": count})
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [*range(1, count + 1)]


def test_a_run_that_begins_anew_leaves_no_line_of_another(path: Path) -> None:
    LineFile(path).append({"step": 9})
    LineFile(path).begin([])
    assert path.read_text() == ""


def test_a_run_without_a_file_makes_none_until_it_logs(path: Path) -> None:
    LineFile(path).begin([])
    assert not path.exists()


def test_lines_beyond_those_that_were_logged_go_and_the_others_stay_as_they_are(path: Path) -> None:
    lines = LineFile(path)
    for entry in entries(4):
        lines.append({**entry, "beside": 1})
    LineFile(path).begin(entries(2))
    assert LineFile(path).read() == [{**entry, "beside": 1} for entry in entries(2)]


def test_half_a_line_is_no_line(path: Path) -> None:
    lines = LineFile(path)
    for entry in entries(2):
        lines.append(entry)
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert lines.read() == entries(2)
    LineFile(path).begin(entries(2))
    LineFile(path).append({"step": 3})
    assert LineFile(path).read() == [*entries(2), {"step": 3}]


def test_a_file_that_is_missing_or_of_another_run_is_made_of_what_was_logged(path: Path) -> None:
    LineFile(path).begin(entries(3))
    assert LineFile(path).read() == entries(3)
    LineFile(path).begin([{"step": 2}, {"step": 4}])
    assert LineFile(path).read() == [{"step": 2}, {"step": 4}]


def test_a_disk_that_refuses_is_told_of_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OPS, "open_append", refuse)
    lines = LineFile(path)
    with caplog.at_level(logging.WARNING):
        lines.append({"step": 1})
        lines.append({"step": 2})
    assert caplog.text.count("No space left on device") == 1
