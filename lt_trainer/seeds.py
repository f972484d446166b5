"""Seeding of everything random."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds python, numpy and torch.

    Args:
        seed: of all three.
        deterministic: also makes torch take deterministic algorithms alone.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True)


def enable_full_determinism(seed: int, warn_only: bool = False) -> None:
    """Seeds, and lets nothing run that could give other numbers the next time; slower, and for the whole process.

    Args:
        seed: see set_seed.
        warn_only: an operation that has no deterministic form warns in place of failing.
    """
    set_seed(seed)
    os.environ |= {  # read by CUDA, cuBLAS and FlashAttention when they start
        "CUDA_LAUNCH_BLOCKING": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":16:8",
        "FLASH_ATTENTION_DETERMINISTIC": "1",
    }
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
