from __future__ import annotations

import logging

import pytest
import torch

from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.process import ParallelMode

LAUNCHED = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)


def test_one_process_on_a_cpu() -> None:
    args = TrainingArguments("out", use_cpu=True)
    assert (args.world_size, args.process_index, args.local_process_index, args.n_gpu) == (1, 0, 0, 0)
    assert args.device == torch.device("cpu")
    assert args.parallel_mode is ParallelMode.NOT_PARALLEL
    assert args.should_log
    assert args.should_save
    assert args.ddp_timeout_delta.total_seconds() == 1800


def test_processes_that_a_run_will_start_count() -> None:
    args = TrainingArguments("out", use_cpu=True, devices=3)
    assert args.world_size == 3
    assert args.parallel_mode is ParallelMode.DISTRIBUTED
    assert args.parallel_mode == "distributed"


@pytest.mark.usefixtures("launched")
def test_a_launcher_says_which_process_this_is() -> None:
    args = TrainingArguments("out", use_cpu=True)
    assert (args.world_size, args.process_index, args.local_process_index) == (8, 5, 1)
    assert not args.should_log
    assert not args.should_save


def test_one_process_of_each_machine_logs_or_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (LAUNCHED | {"RANK": "4", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    assert TrainingArguments("out").should_log
    assert not TrainingArguments("out", log_on_each_node=False).should_log
    assert not TrainingArguments("out").should_save
    assert TrainingArguments("out", save_on_each_node=True).should_save


def test_a_gpu_of_its_own_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    args = TrainingArguments("out")
    assert (args.world_size, args.n_gpu, args.device) == (4, 1, torch.device("cuda", 0))
    assert args.train_batch_size == args.per_device_train_batch_size


@pytest.mark.parametrize(("name", "level"), [("debug", 10), ("info", 20), ("detail", 20), ("error", 40)])
def test_level_of_the_log(name: str, level: int) -> None:
    assert TrainingArguments("out", log_level=name).get_process_log_level() == level


def test_passive_level_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lt_trainer"), "level", logging.ERROR)
    logging.getLogger("lt_trainer").manager._clear_cache()  # type: ignore[attr-defined]
    assert TrainingArguments("out").get_process_log_level() == logging.ERROR


@pytest.mark.usefixtures("launched")
def test_level_of_the_other_processes() -> None:
    assert TrainingArguments("out", log_level="debug").get_process_log_level() == logging.WARNING
    assert TrainingArguments("out", log_level_replica="error").get_process_log_level() == logging.ERROR


def test_alone_nobody_waits() -> None:
    with TrainingArguments("out").main_process_first(desc="tokenize"):
        done = True
    assert done


def test_processes_that_a_run_started_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # of Lightning, without torchrun's LOCAL_WORLD_SIZE
    monkeypatch.setenv("WORLD_SIZE", "2")
    with TrainingArguments("out", use_cpu=True, devices=2).main_process_first():
        pass
    assert not torch.distributed.is_initialized()
