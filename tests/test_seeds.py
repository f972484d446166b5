from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lt_trainer.seeds import enable_full_determinism, set_seed


@pytest.fixture
def restored(monkeypatch):
    for name in ("CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC"):
        monkeypatch.setenv(name, "")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_a_seed_fixes_all_three_generators():
    set_seed(3)
    first = draws()
    set_seed(3)
    assert draws() == first


def test_full_determinism_lets_nothing_else_run(restored):
    import os

    enable_full_determinism(3)
    first = draws()
    assert torch.are_deterministic_algorithms_enabled()
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    set_seed(3)
    assert draws() == first


def test_set_seed_can_ask_for_deterministic_algorithms(restored):
    set_seed(3, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
