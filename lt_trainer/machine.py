"""What this machine and the launcher of this process say, before anything is set up."""

from __future__ import annotations

import atexit
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import distributed

from lt_trainer.args.hardware import Facts
from lt_trainer.launchers import why_not_again

if TYPE_CHECKING:
    from datetime import timedelta


def find_facts(num_train_rows: int | None, has_eval: bool) -> Facts:
    """What the machine and the launcher say (torchrun's variables, or those of SLURM)."""
    accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1"):
        accelerator = "cpu"
    here = Facts(
        num_train_rows=num_train_rows,
        has_train=num_train_rows is not None,
        has_eval=has_eval,
        accelerator=accelerator,  # type: ignore[arg-type]
        num_visible_devices=torch.cuda.device_count() if accelerator == "cuda" else 1,
        no_restart=why_not_again(),
        mixed_precision=os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
    )
    said = os.environ
    if "LOCAL_WORLD_SIZE" in said and "RANK" in said:
        count, local = int(said["WORLD_SIZE"]), int(said["LOCAL_WORLD_SIZE"])
        nodes = int(said.get("GROUP_WORLD_SIZE", 1))
    elif "SLURM_NTASKS" in said and said.get("SLURM_JOB_NAME") not in _BY_HAND:
        count, nodes = int(said["SLURM_NTASKS"]), int(said.get("SLURM_NNODES", 1))
        local = int(said.get("SLURM_NTASKS_PER_NODE", count // nodes))
    else:
        return here
    return replace(here, launched=True, world_size=count, local_world_size=local, num_nodes=nodes)


_BY_HAND = ("bash", "interactive")  # names of jobs in which Lightning, too, takes SLURM for no launcher


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator said that there is no more, of a GPU or of the host."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    )


def empty_cache() -> None:
    """Gives back the memory that the allocator of the accelerator keeps for later; nothing on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def global_rank(devices: int = 1) -> int:
    """The number of this process among all, as torchrun, SLURM or Lightning's own launcher say: 0 writes.

    Args:
        devices: processes of a machine, for Lightning's own launcher, which is told of machines by NODE_RANK.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return int(os.environ.get("NODE_RANK", 0)) * devices + int(os.environ.get("LOCAL_RANK", 0))


def local_rank() -> int:
    """The number of this process among those of its machine."""
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def device(accelerator: str, index: int) -> torch.device:
    """The device of a process.

    Args:
        accelerator: cpu, cuda or mps.
        index: of the process on its machine.
    """
    return torch.device(accelerator, index) if accelerator == "cuda" else torch.device(accelerator)


def barrier(timeout: timedelta) -> None:
    """Waits for all processes that a launcher started; brings them together where nothing has done so yet."""
    if not distributed.is_initialized():
        # Gloo for the CPU, NCCL for GPUs: Lightning takes the group that it finds. The barrier goes over the CPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        count = int(os.environ.get("WORLD_SIZE") or os.environ["SLURM_NTASKS"])
        distributed.init_process_group(backend, timeout=timeout, rank=global_rank(), world_size=count)
        atexit.register(_part)
    distributed.all_reduce(torch.zeros(1))


def _part() -> None:
    if distributed.is_initialized():  # unless somebody else did it
        distributed.destroy_process_group()


def set_tf32(allowed: bool) -> None:
    """Whether float32 products on NVIDIA GPUs may take TF32: about 8 times as fast from Ampere on, to 10 bits."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: Jupyter, JupyterLab, VS Code, Colab. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
