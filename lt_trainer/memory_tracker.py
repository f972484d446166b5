"""What a stage of a run does to memory (`skip_memory_metrics=False`): the numbers and names of `transformers`."""

from __future__ import annotations

import gc
import threading
from typing import NamedTuple

import torch

from lt_trainer.machine import empty_cache

SAMPLE_SECONDS = 0.001
"""Between two looks at the memory of the process: shorter peaks are not seen."""


class _Stage(NamedTuple):
    """Bytes of one kind of memory over a stage."""

    begin: int
    end: int
    peak: int

    def deltas(self, name: str) -> dict[str, int]:
        """`alloc`: what the stage left behind; `peaked`: what it took beyond that and gave back."""
        return {f"{name}_alloc_delta": self.end - self.begin, f"{name}_peaked_delta": max(0, self.peak - self.end)}


class MemoryTracker:
    """Measures stages, one at a time: a stage that begins inside another, as evaluations of a run do, counts to that.

    It begins with the stage "init", whose numbers come with those of the stage after it.

    Args:
        is_off: measures nothing, at no cost.

    Raises:
        ModuleNotFoundError: psutil is not installed, which tells the memory of a process.
    """

    def __init__(self, *, is_off: bool) -> None:
        self._stage: str | None = None
        self._ended = threading.Event()
        self._is_off, self._init = is_off, dict[str, int]()
        if not is_off:
            try:
                import psutil
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    "skip_memory_metrics=False: expected psutil, which tells the memory of a process, received no such "
                    "package: pip install psutil, or leave the argument out"
                ) from error
            self._process = psutil.Process()
            self.start("init")

    def start(self, stage: str) -> None:
        """Begins a stage, unless another is running; one that an error left open begins again, or ends with "train"."""
        if self._is_off or (self._stage not in (None, stage) and stage != "train"):
            return
        self._ended.set()
        self._stage = stage
        gc.collect()
        empty_cache()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._gpu_begin = torch.cuda.memory_allocated()
        self._begin = self._peak = self._used()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, args=(self._ended,), name="memory", daemon=True).start()

    def stop(self, stage: str) -> dict[str, int]:
        """Ends a stage; its numbers in bytes, none where it is not the one that runs."""
        if self._is_off or stage != self._stage:
            return {}
        self._stage = None
        self._ended.set()
        gc.collect()
        empty_cache()
        cpu = _Stage(self._begin, self._used(), self._peak)
        found = cpu.deltas(f"{stage}_mem_cpu")
        before = {"before_init_mem_cpu": cpu.begin}
        if torch.cuda.is_available():
            gpu = _Stage(self._gpu_begin, torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated())
            found |= gpu.deltas(f"{stage}_mem_gpu")
            before["before_init_mem_gpu"] = gpu.begin
        if stage == "init":
            self._init = before | found
            return {}
        found, self._init = self._init | found, {}
        return found

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._used())

    def _used(self) -> int:
        return int(self._process.memory_info().rss)
