"""What scripts ask their arguments about the process that they run in. Looked up when asked, never on construction."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from lt_trainer.args.hardware import processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    import torch

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.hardware import Facts


class ParallelMode(StrEnum):
    """How work is shared; a process has one device here, so several GPUs are several processes."""

    NOT_PARALLEL = "not_parallel"
    DISTRIBUTED = "distributed"


class ProcessView:
    """The process's place among others. Its properties import torch, which making arguments does not."""

    use_cpu: bool
    devices: int | None
    ddp_timeout: int
    log_level: str
    log_level_replica: str
    log_on_each_node: bool
    save_on_each_node: bool

    @property
    def world_size(self) -> int:
        """Processes in all, those included that a run will start."""
        _, devices, nodes = processes(self, _facts())
        return devices * nodes

    @property
    def process_index(self) -> int:
        """The number of this process among all."""
        from lt_trainer.machine import global_rank

        return global_rank()

    @property
    def local_process_index(self) -> int:
        """The number of this process on its machine."""
        from lt_trainer.machine import local_rank

        return local_rank()

    @property
    def parallel_mode(self) -> ParallelMode:
        """Whether there is more than one process."""
        return ParallelMode.DISTRIBUTED if self.world_size > 1 else ParallelMode.NOT_PARALLEL

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        from lt_trainer.machine import device

        return device(processes(self, _facts())[0], self.local_process_index)

    @property
    def n_gpu(self) -> int:
        """GPUs of this process: 1, or 0 on a CPU."""
        return int(processes(self, _facts())[0] == "cuda")

    @property
    def ddp_timeout_delta(self) -> timedelta:
        """How long processes wait for each other."""
        return timedelta(seconds=self.ddp_timeout)

    @property
    def should_log(self) -> bool:
        """Whether this process logs: the first of each machine, or of all where `log_on_each_node` is off."""
        return (self.local_process_index if self.log_on_each_node else self.process_index) == 0

    @property
    def should_save(self) -> bool:
        """Whether this process writes."""
        return (self.local_process_index if self.save_on_each_node else self.process_index) == 0

    def get_process_log_level(self) -> int:
        """The level of `logging` for this process; the package's own where the arguments say "passive"."""
        name = self.log_level if self.should_log else self.log_level_replica
        levels = logging.getLevelNamesMapping()
        passive = logging.getLogger("lt_trainer").getEffectiveLevel()
        return {"passive": passive, "detail": logging.INFO}.get(name) or levels[name.upper()]

    def explain(self, train_rows: int | Sized | None = None, eval_rows: int | Sized | None = None) -> str:
        """What a run will do on this machine, who does it, and what differs from the defaults, as a table.

        Args:
            train_rows: the training data, or the number of its rows; without it, `max_steps` tells the run's length.
            eval_rows: likewise for evaluation.

        Raises:
            ConfigurationError: the run cannot be made, with every problem.
        """
        from lt_trainer.advice.explain import explain

        rows = train_rows if train_rows is None or isinstance(train_rows, int) else len(train_rows)
        facts = replace(_facts(), num_train_rows=rows, has_train=True, has_eval=eval_rows is not None)
        return explain(cast("TrainingArguments", self), facts)

    @contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Lets the first process do something, such as `datasets.map` with a cache, before all others do it.

        Processes that a run starts by itself begin where the first is in `train`, and never wait.

        Args:
            local: the first of each machine; False: the first of all, for a file system that machines share.
            desc: what is done, for the log.
        """
        from lt_trainer.machine import barrier

        facts = _facts()
        several = facts.launched and facts.world_size > 1
        is_first = (self.local_process_index if local else self.process_index) == 0
        if several and not is_first:
            logging.getLogger(__name__).debug("waiting for the first process: %s", desc)
            barrier(self.ddp_timeout_delta)
        try:
            yield
        finally:
            if several and is_first:
                barrier(self.ddp_timeout_delta)


def _facts() -> Facts:
    from lt_trainer.machine import find_facts

    return find_facts(None, False)
