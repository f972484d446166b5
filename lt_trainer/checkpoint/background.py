"""Writing off the training thread: one job at a time, in order; what fails is told and never ends training."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class BackgroundWriter:
    """Runs one job at a time in a thread of its own.

    A job that fails is logged with its cause and counted: the older checkpoints are still there, and the next save may
    succeed. It is not tried again, since a failed sync tells nothing about what a second one would write
    (https://wiki.postgresql.org/wiki/Fsync_Errors).
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self.finished = 0
        self.failed = 0

    def submit(self, job: Callable[[], None], name: str, *, counts: bool = True) -> None:
        """Waits for the job before, then starts this one.

        Args:
            job: must not touch what training changes.
            name: what it writes, for messages.
            counts: enters into `finished` and `failed`.
        """
        self.join()
        self._thread = threading.Thread(target=self._run, args=(job, name, counts), name=f"save {name}")
        self._thread.start()

    def run(self, job: Callable[[], None], name: str, *, counts: bool = True) -> None:
        """Runs a job here and now, after the job before."""
        self.join()
        self._run(job, name, counts)

    def join(self) -> None:
        """Waits until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, job: Callable[[], None], name: str, counts: bool) -> None:
        try:
            job()
        except Exception:
            self.failed += counts
            logger.exception("%s could not be saved; training goes on, older checkpoints are untouched", name)
        self.finished += counts


class HostCopies:
    """Copies of nests of tensors in host memory, each written over the one before.

    The memory is kept from one save to the next: most of what a copy into new memory takes goes to the system, which
    hands it out page by page (`benchmarks/save_delay.py` shows how much). Copies from a GPU go to pinned memory.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], torch.Tensor] = {}

    def copy(self, value: Any) -> Any:
        """The nest with every tensor copied; whoever reads the copy before must have finished.

        Args:
            value: dicts, lists and tuples of tensors on any device, and anything else, which is passed on.
        """
        copied = self._copy(value, ())
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return copied

    def _copy(self, value: Any, place: tuple[Any, ...]) -> Any:
        if isinstance(value, torch.Tensor):
            return self._memory_for(value, place).copy_(value.detach(), non_blocking=value.is_cuda)
        if isinstance(value, dict):
            return {key: self._copy(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._copy(item, (*place, i)) for i, item in enumerate(value))
        return value

    def _memory_for(self, value: torch.Tensor, place: tuple[Any, ...]) -> torch.Tensor:
        kept = self._kept.get(place)
        if kept is None or kept.shape != value.shape or kept.dtype != value.dtype:
            kept = self._kept[place] = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
        return kept


def num_bytes(value: Any) -> int:
    """Bytes of all tensors in a nest of dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(num_bytes, value.values()))
    return sum(map(num_bytes, value)) if isinstance(value, list | tuple) else 0
