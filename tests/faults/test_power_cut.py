"""The power is cut before each operation of a save, on a real ext4: no save that was told to be there is ever lost.

The file system is a file behind a loop device; a shutdown without flushing its journal is what a power cut leaves.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from lt_trainer.checkpoint.find import newest_valid, rotate
from lt_trainer.checkpoint.format import read_checkpoint, write_checkpoint
from lt_trainer.files import AtomicFolder, clean_staging, remove_folder
from lt_trainer.files.ops import OPS
from tests.checkpoint.states import save, state_at
from tests.faults.shim import Killed, Shim, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN of Linux
NO_LOG_FLUSH = 2


def system(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


class Device:
    """An ext4 file system in a file, which can lose its power."""

    def __init__(self, folder: Path) -> None:
        self.prepared, self.image, self.root = folder / "prepared", folder / "image", folder / "mounted"
        self.root.mkdir()
        with self.prepared.open("wb") as file:
            file.truncate(16 << 20)
        system("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", self.prepared)

    @contextlib.contextmanager
    def mounted(self, image: Path) -> Iterator[Path]:
        system("mount", "-o", "loop", image, self.root)
        try:
            yield self.root / "run"
        finally:
            system("umount", self.root)

    def cut_power(self) -> None:
        descriptor = os.open(self.root, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, array.array("I", [NO_LOG_FLUSH]))
        os.close(descriptor)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A file system that holds checkpoint-5, safe on the device."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "mount", "umount"))):
        pytest.skip("mounting a file system takes the superuser, mkfs.ext4 and mount")
    device = Device(tmp_path)
    try:
        with device.mounted(device.prepared) as run:
            save(run, 5)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this system mounts no loop device: {error.stderr.decode().strip()}")
    return device


def save_and_rotate(run: Path, told: list[int]) -> None:
    path = save(run, 10)
    told.append(10)
    rotate(run, limit=1, keep={path})


def lost_saves(device: Device, action: Callable[[Path, list[int]], None] = save_and_rotate) -> list[str]:
    """Cuts the power before each operation in turn, and after the last; returns what was lost, a line each.

    Args:
        device: where it happens.
        action: enters each step into its second argument as soon as it is told to be safe.
    """
    lost, at, finished = [], 0, False
    while not finished:
        at += 1
        shutil.copyfile(device.prepared, device.image)
        told = [5]
        with device.mounted(device.image) as run:
            with installed(Shim("kill", at, sync=True)), contextlib.suppress(Killed):
                action(run, told)
                finished = True
            device.cut_power()
        with device.mounted(device.image) as run:
            lost += [f"operation {at}: {problem}" for problem in problems(run, told[-1])]
    assert at > 100
    return lost


def problems(run: Path, told: int) -> Iterator[str]:
    clean_staging(run)
    try:
        found, passed_over = newest_valid(run)
        state = read_checkpoint(found)
    except (OSError, ValueError) as error:
        yield f"nothing to go on from: {error}"
        return
    step = state.trainer_state["global_step"]
    if step < told:
        yield f"step {told} was told to be safe, {step} was found"
    if passed_over:
        yield f"{passed_over[0][0].name} stood there in part: {passed_over[0][1]}"
    if not state.model_state["layer.bias"].equal(state_at(step).model_state["layer.bias"]):
        yield "other weights"


def test_no_save_is_lost_wherever_the_power_is_cut(device: Device) -> None:
    assert lost_saves(device) == []


def test_no_folder_is_lost_while_it_is_replaced(device: Device) -> None:
    def save_again(run: Path, told: list[int]) -> None:
        with AtomicFolder(run / "checkpoint-5") as folder:
            write_checkpoint(folder, state_at(6))
        told.append(6)

    assert lost_saves(device, save_again) == []


def test_without_a_sync_of_folders_saves_are_lost(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS, "fsync_folder", lambda folder: None)
    assert lost_saves(device)


def test_without_a_sync_of_files_saves_are_lost(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS, "fsync", lambda descriptor: None)
    assert lost_saves(device)


def test_what_is_removed_before_the_newer_is_there_is_lost(device: Device) -> None:
    def remove_and_save(run: Path, told: list[int]) -> None:
        remove_folder(run / "checkpoint-5")
        save(run, 10)
        told.append(10)

    assert lost_saves(device, remove_and_save)
