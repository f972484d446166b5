from __future__ import annotations

import pytest
import torch

from lt_trainer.machine import find_facts, global_rank, set_tf32

LAUNCHER = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"}


SLURM = {"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "SLURM_NNODES": "2", "SLURM_PROCID": "4"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LAUNCHER, *SLURM, "SLURM_JOB_NAME", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHER.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch):
    """Says which accelerators torch finds."""

    def say(*, gpus: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return say


@pytest.mark.parametrize(
    ("found", "accelerator", "devices"),
    [
        ({}, "cpu", 1),
        ({"gpus": 3}, "cuda", 3),
        ({"mps": True}, "mps", 1),
        ({"gpus": 1, "mps": True}, "cuda", 1),
    ],
)
def test_the_accelerator_is_what_torch_finds(offers, found: dict[str, int], accelerator: str, devices: int) -> None:
    offers(**found)
    facts = find_facts(8, has_eval=False)
    assert (facts.accelerator, facts.num_visible_devices) == (accelerator, devices)


def test_without_a_launcher_there_is_one_process() -> None:
    facts = find_facts(8, has_eval=False)
    assert (facts.launched, facts.world_size, facts.local_world_size, facts.num_nodes) == (False, 1, 1, 1)


@pytest.mark.usefixtures("torchrun")
def test_a_launcher_says_how_many_processes_there_are() -> None:
    facts = find_facts(8, has_eval=False)
    assert (facts.launched, facts.world_size, facts.local_world_size, facts.num_nodes) == (True, 8, 4, 2)


def test_srun_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    facts = find_facts(8, has_eval=False)
    assert (facts.launched, facts.world_size, facts.local_world_size, facts.num_nodes) == (True, 6, 3, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not find_facts(8, has_eval=False).launched


def test_accelerate_configures_the_cpu(offers, monkeypatch: pytest.MonkeyPatch) -> None:
    offers(gpus=2)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert find_facts(8, has_eval=False).accelerator == "cpu"


@pytest.mark.parametrize(("num_train_rows", "has_train"), [(8, True), (0, True), (None, False)])
def test_no_training_data_differs_from_an_empty_one(num_train_rows: int | None, has_train: bool) -> None:
    facts = find_facts(num_train_rows, has_eval=True)
    assert (facts.num_train_rows, facts.has_train, facts.has_eval) == (num_train_rows, has_train, True)


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),
        ({"LOCAL_RANK": "1"}, 1),
        ({"SLURM_PROCID": "2"}, 2),
        ({"RANK": "3", "LOCAL_RANK": "1", "SLURM_PROCID": "2"}, 3),
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "2"}, 2),
    ],
)
def test_the_rank_among_all_comes_before_that_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert global_rank() == rank


def test_machines_without_a_launcher_are_numbered_by_node_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "2")
    assert global_rank(4) == 8
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert global_rank(4) == 11


def test_tf32_is_a_setting_of_torch() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        set_tf32(True)
        assert torch.get_float32_matmul_precision() == "high"
        set_tf32(False)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
