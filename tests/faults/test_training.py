"""A run whose disk fails, or that is killed, at any file operation: it ends with the weights of one never touched."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lt_trainer.checkpoint.find import list_checkpoints, newest_valid, verify
from lt_trainer.files import LOCK
from lt_trainer.files.ops import OPS
from tests.faults import runs
from tests.faults.shim import ERRORS, Killed, Shim, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lt_trainer import Trainer

LIMIT = {"save_total_limit": 1}
EVERY = 23  # of the operations, in the quick tests; no divisor of the number of those of a save


class Reference(NamedTuple):
    """A run that nothing happened to."""

    weights: list[float]
    losses: list[float]
    operations: int
    before: int
    """Operations before the first of a save."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    trainer = runs.build(tmp_path_factory.mktemp("reference") / "run", **LIMIT)
    with installed(Shim()) as shim:
        trainer.train()
    saves = [i for i, (name, arguments) in enumerate(shim.calls) if name == "mkdir" and ".tmp-ch" in str(arguments)]
    return Reference(runs.weights(trainer), runs.losses(trainer), len(shim.calls), saves[0])


def assert_same(trainer: Trainer, reference: Reference) -> None:
    assert runs.weights(trainer) == reference.weights
    assert runs.losses(trainer) == reference.losses


def go_on(output_dir: Path) -> Trainer:
    trainer = runs.build(output_dir, **LIMIT)
    trainer.train(resume_from_checkpoint=bool(list_checkpoints(output_dir)))
    return trainer


def places(reference: Reference, stride: int, offset: int) -> range:
    return range(1 + offset % stride, reference.operations + 1, stride)


def error_of(trainer: Trainer) -> OSError | None:
    try:
        trainer.train()
    except OSError as error:
        return error
    return None


def check_killed(folder: Path, reference: Reference, stride: int) -> None:
    for at in places(reference, stride, 0):
        output_dir = folder / f"run-{at}"
        with installed(Shim("kill", at)), pytest.raises(Killed):
            runs.build(output_dir, **LIMIT).train()
        assert all(verify(path) is None for path in list_checkpoints(output_dir)), at
        assert_same(go_on(output_dir), reference)
        assert not list(output_dir.glob(".*")), at


def check_error(folder: Path, reference: Reference, error: str, stride: int) -> None:
    for at in places(reference, stride, list(ERRORS).index(error)):
        output_dir = folder / f"run-{at}"
        trainer = runs.build(output_dir, **LIMIT)
        with installed(Shim(error, at)):
            told = error_of(trainer)
        if told is not None:
            assert told.errno == ERRORS[error]
            assert trainer.state.global_step == 0, f"a save ended training at operation {at}"
            continue
        assert_same(trainer, reference)
        newest, passed_over = newest_valid(output_dir)
        assert passed_over == []
        assert int(newest.name.split("-")[1]) in runs.SAVED
        assert_same(go_on(output_dir), reference)


def test_a_kill_at_any_operation_loses_nothing(tmp_path: Path, reference: Reference) -> None:
    check_killed(tmp_path, reference, EVERY)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_at_any_operation_does_not_end_training(tmp_path: Path, reference: Reference, error: str) -> None:
    check_error(tmp_path, reference, error, EVERY)


@pytest.mark.slow
def test_a_kill_at_every_operation_loses_nothing(tmp_path: Path, reference: Reference) -> None:
    check_killed(tmp_path, reference, 1)


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_at_every_operation_does_not_end_training(tmp_path: Path, reference: Reference, error: str) -> None:
    check_error(tmp_path, reference, error, 1)


def test_short_writes_change_nothing(tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    write = OPS.write
    monkeypatch.setattr(OPS, "write", lambda descriptor, data: write(descriptor, data[: max(1, len(data) // 2)]))
    trainer = runs.build(tmp_path / "run")
    trainer.train()
    assert_same(trainer, reference)
    assert [verify(path) for path in list_checkpoints(tmp_path / "run")] == [None] * len(runs.SAVED)


def test_a_disk_that_stays_full_leaves_the_older_checkpoint(
    tmp_path: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, write = runs.build(tmp_path / "run", **LIMIT), OPS.write

    def full_after_the_first_save(descriptor: int, data: memoryview) -> int:
        if trainer.state.global_step > runs.SAVED[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(OPS, "write", full_after_the_first_save)
    trainer.train()
    assert_same(trainer, reference)
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["checkpoint-2"]
    assert caplog.text.count("could not be saved; training goes on") == 2
    monkeypatch.undo()
    assert_same(go_on(tmp_path / "run"), reference)


def test_what_cannot_be_removed_is_told_and_counts_as_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rename = OPS.rename

    def keep_checkpoints(source: Path, target: Path) -> None:
        if source.name.startswith("checkpoint-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        rename(source, target)

    monkeypatch.setattr(OPS, "rename", keep_checkpoints)
    runs.build(tmp_path / "run", **LIMIT).train()
    assert len(list_checkpoints(tmp_path / "run")) == len(runs.SAVED)
    assert "an older checkpoint" in caplog.text
    assert "could not be saved" not in caplog.text


# ---- files that are damaged later


def files_of_a_checkpoint() -> list[str]:
    names = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
    return [*names, "trainer_state.json", "lt_trainer.json", "manifest.json"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output_dir = tmp_path_factory.mktemp("whole") / "run"
    runs.build(output_dir).train()
    assert sorted(path.name for path in (output_dir / "checkpoint-5").iterdir()) == sorted(files_of_a_checkpoint())
    return output_dir


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, path.stat().st_size // 2)])
@pytest.mark.parametrize("name", files_of_a_checkpoint())
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_and_says_so(
    tmp_path: Path, whole: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    output_dir = shutil.copytree(whole, tmp_path / "run")
    damage(output_dir / "checkpoint-5" / name)
    trainer = runs.build(output_dir)
    trainer.train(resume_from_checkpoint=True)
    assert f"checkpoint-5 is passed over: {output_dir / 'checkpoint-5' / name}" in caplog.text or name in caplog.text
    assert "going on from " + str(output_dir / "checkpoint-4") in caplog.text
    again = runs.build(whole)
    again.train(resume_from_checkpoint=str(whole / "checkpoint-5"))
    assert runs.weights(trainer) == runs.weights(again)


# ---- folders that cannot be used


@contextmanager
def refused_before_the_first_step(trainer: Trainer, message: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    with pytest.raises(OSError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0
    assert time.monotonic() - began < 2


def test_a_full_disk_is_refused_before_the_first_step(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes the superuser")
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this system mounts no tmpfs")
    try:
        (mounted / "other").write_bytes(b"x" * (64 << 10))
        trainer = runs.build(mounted)
        with refused_before_the_first_step(trainer, "No space left on device.*make room or choose another"):
            pass
        assert [path.name for path in mounted.iterdir()] == ["other"]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_disk_that_will_be_full_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    saved = 3 * 10 * 4  # ten weights and two moments each, four bytes
    for limit, free in ((1, 2 * saved), (2, 3 * saved)):
        for missing in (0, 1):
            monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free - missing: usage._replace(free=free))
            trainer = runs.build(tmp_path / f"{limit}-{missing}", save_total_limit=limit)
            if missing:
                with refused_before_the_first_step(trainer, r"are needed and .* are free"):
                    pass
            else:
                trainer.train()


def test_a_run_that_saves_nothing_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    runs.build(tmp_path, save_strategy="no").train()


def test_a_second_run_in_the_folder_is_refused_before_the_first_step(tmp_path: Path) -> None:
    from lt_trainer import TrainerCallback

    seen = []

    class Second(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            second = runs.build(tmp_path)
            with pytest.raises(BlockingIOError, match=f"in use by another run, process {os.getpid()} on host"):
                second.train()
            seen.append((state.global_step, second.state.global_step))

    runs.build(tmp_path, callbacks=[Second()]).train()
    assert seen == [(step, 0) for step in range(1, runs.STEPS + 1)]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{step}" for step in runs.SAVED]
    runs.build(tmp_path).train()  # the first one is over


def test_a_run_that_fails_frees_its_folder(tmp_path: Path) -> None:
    from lt_trainer import TrainerCallback

    class Fails(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            assert (tmp_path / LOCK).exists()
            raise RuntimeError("of the user")

    with pytest.raises(RuntimeError, match="of the user"):
        runs.build(tmp_path, callbacks=[Fails()]).train()
    assert not (tmp_path / LOCK).exists()
