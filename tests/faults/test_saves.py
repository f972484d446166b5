"""Every operation of a save and of a rotation fails or is the last one: what was saved before, or is now, is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lt_trainer.checkpoint.find import list_checkpoints, newest_valid, rotate, verify
from lt_trainer.checkpoint.format import read_checkpoint, write_checkpoint
from lt_trainer.files import AtomicFolder, clean_staging, update_folder
from lt_trainer.files.ops import OPS
from tests.checkpoint.states import save, state_at
from tests.faults.shim import ERRORS, Killed, Shim, installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def save_and_rotate(output_dir: Path) -> None:
    """What a run does: checkpoint-10 joins checkpoint-5, which then goes."""
    rotate(output_dir, limit=1, keep={save(output_dir, 10)})


def save_again(output_dir: Path) -> None:
    """A run that went back writes a step that is there already; the state in it is told apart by its step."""
    with AtomicFolder(output_dir / "checkpoint-5") as folder:
        write_checkpoint(folder, state_at(6))


SCENARIOS: dict[str, Callable[[Path], None]] = {"save and rotate": save_and_rotate, "save again": save_again}


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    save(tmp_path / "before", 5)
    return tmp_path / "run"


def restore(output_dir: Path) -> None:
    shutil.rmtree(output_dir, ignore_errors=True)
    shutil.copytree(output_dir.parent / "before", output_dir)


def count_operations(output_dir: Path, action: Callable[[Path], None]) -> int:
    restore(output_dir)
    with installed(Shim()) as shim:
        action(output_dir)
    return len(shim.calls)


def saved_step(output_dir: Path) -> int:
    """Checks that what can be resumed from is whole and is what was saved; returns its step."""
    found, passed_over = newest_valid(output_dir)
    assert passed_over == []
    state = read_checkpoint(found)
    step = state.trainer_state["global_step"]
    expected = state_at(step)
    assert all(tensor.equal(expected.model_state[name]) for name, tensor in state.model_state.items())
    assert state.optimizer is not None
    assert state.optimizer["state"][0]["exp_avg"].tolist() == [0.5 * step] * 3
    return int(step)


def error_of(action: Callable[[], None]) -> OSError | None:
    try:
        action()
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_before_any_operation_loses_nothing(output_dir: Path, name: str) -> None:
    total = count_operations(output_dir, SCENARIOS[name])
    assert total > 50
    seen = []
    for at in range(1, total + 1):
        restore(output_dir)
        with installed(Shim("kill", at)), pytest.raises(Killed):
            SCENARIOS[name](output_dir)
        clean_staging(output_dir)
        seen.append(saved_step(output_dir))
        assert all(verify(folder) is None for folder in list_checkpoints(output_dir))
        assert not list(output_dir.glob(".*")), at
    # the step from the older to the newer state is taken once, and both sides of it were seen
    assert seen == sorted(seen)
    assert len(set(seen)) == 2


@pytest.mark.parametrize(
    ("name", "error"),
    [*(("save and rotate", error) for error in ERRORS), ("save again", "input/output error")],
)
def test_an_error_of_any_operation_is_told_and_loses_nothing(output_dir: Path, name: str, error: str) -> None:
    for at in range(1, count_operations(output_dir, SCENARIOS[name]) + 1):
        restore(output_dir)
        with installed(Shim(error, at)) as shim:
            told = error_of(lambda: SCENARIOS[name](output_dir))
        if told is None:  # only the folder that was replaced may stay, until the next start
            assert shim.calls[at - 1][0] in ("unlink", "rmdir")
        else:
            assert told.errno == ERRORS[error]
        assert saved_step(output_dir) in (5, 6, 10)
        clean_staging(output_dir)
        saved_step(output_dir)
        assert not list(output_dir.glob(".*")), at


def test_a_save_that_failed_removes_no_older_checkpoint(output_dir: Path) -> None:
    for at in range(1, count_operations(output_dir, lambda folder: save(folder, 10)) + 1):
        restore(output_dir)
        with installed(Shim("full disk", at)), pytest.raises(OSError, match="No space left"):
            save_and_rotate(output_dir)
        assert verify(output_dir / "checkpoint-5") is None


@pytest.mark.parametrize("name", SCENARIOS)
def test_short_writes_are_completed(output_dir: Path, name: str) -> None:
    restore(output_dir)
    with installed(Shim()) as whole:
        SCENARIOS[name](output_dir)
    for at, (operation, _) in enumerate(whole.calls, start=1):
        if operation == "write":
            restore(output_dir)
            with installed(Shim("short write", at)):
                SCENARIOS[name](output_dir)
            assert saved_step(output_dir) in (6, 10)


def test_a_disk_that_takes_nothing_does_not_hang(output_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restore(output_dir)
    monkeypatch.setattr(OPS, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match=r"took no more bytes.*model\.safetensors"):
        save(output_dir, 10)
    assert saved_step(output_dir) == 5


def test_killed_processes_lose_nothing(output_dir: Path) -> None:
    """The same with real processes that end at the n-th operation, without any clean-up; every third, to save time."""
    total = count_operations(output_dir, save_and_rotate)
    script = f"""
import os, pathlib, shutil
from tests.faults.shim import Shim, installed
from tests.faults.test_saves import save_and_rotate
for at in range(1, {total} + 1, 3):
    folder = pathlib.Path({str(output_dir.parent)!r}, f"run-{{at}}")
    shutil.copytree({str(output_dir.parent / "before")!r}, folder)
    child = os.fork()
    if child == 0:
        with installed(Shim("exit", at)):
            save_and_rotate(folder)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, at
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    steps = []
    for at in range(1, total + 1, 3):
        folder = output_dir.with_name(f"run-{at}")
        clean_staging(folder)
        steps.append(saved_step(folder))
        assert all(verify(path) is None for path in list_checkpoints(folder))
        assert not list(folder.glob(".*")), at
    assert steps == sorted(steps)
    assert set(steps) == {5, 10}


def test_files_at_the_top_are_each_old_or_new(tmp_path: Path) -> None:
    def update(folder: Path, text: str) -> None:
        with update_folder(folder) as top:
            for name in ("a", "b", "c"):
                top.write_text(name, text)

    update(tmp_path / "before", "old")
    total = count_operations(tmp_path / "run", lambda folder: update(folder, "new"))
    for at in range(1, total + 1):
        restore(tmp_path / "run")
        with installed(Shim("kill", at)), pytest.raises(Killed):
            update(tmp_path / "run", "new")
        clean_staging(tmp_path / "run")
        assert sorted(os.listdir(tmp_path / "run")) == ["a", "b", "c"]
        assert {(tmp_path / "run" / name).read_text() for name in "abc"} <= {"old", "new"}


def test_operations_come_in_the_order_that_survives_a_power_cut(output_dir: Path) -> None:
    restore(output_dir)
    with installed(Shim()) as shim:
        save_and_rotate(output_dir)
    calls = [(name, arguments[0]) for name, arguments in shim.calls]
    renames = [i for i, (name, _) in enumerate(calls) if name == "rename"]
    published, removed = renames
    opened = [path for name, path in calls if name == "open_new"]
    synced = [path for name, path in calls[:published] if name == "fsync"]
    assert opened[-1].name == "manifest.json"
    assert (
        synced == opened
    )  # each file, in order: whatever the manifest lists is durable before the manifest is written
    assert calls[published - 1] == ("fsync_folder", opened[0].parent)
    assert calls[published + 1] == ("fsync_folder", output_dir)
    assert removed > published + 1
    assert calls[removed + 1] == ("fsync_folder", output_dir)
    assert min(i for i, (name, _) in enumerate(calls) if name in ("unlink", "rmdir")) > removed + 1
