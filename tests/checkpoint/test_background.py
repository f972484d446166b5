from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch

from lt_trainer.checkpoint.background import BackgroundWriter, HostCopies, num_bytes

if TYPE_CHECKING:
    from collections.abc import Callable


def failing() -> None:
    raise OSError(28, "No space left on device", "model.safetensors")


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


# --- the writer -------------------------------------------------------------------------------------------------------


def test_a_job_runs_beside_the_caller(gate: threading.Event) -> None:
    writer = BackgroundWriter()
    writer.submit(lambda: gate.wait(10) or None, "checkpoint-1")
    assert writer.finished == 0
    gate.set()
    writer.join()
    assert (writer.finished, writer.failed) == (1, 0)


def test_jobs_run_one_at_a_time_and_in_order() -> None:
    writer, events = BackgroundWriter(), []

    def job(number: int) -> Callable[[], None]:
        def run() -> None:
            events.append(("begin", number))
            time.sleep(0.01)
            events.append(("end", number))

        return run

    writer.submit(job(1), "1")
    writer.submit(job(2), "2")
    writer.run(job(3), "3")
    assert events == [(what, number) for number in (1, 2, 3) for what in ("begin", "end")]
    assert writer.finished == 3


@pytest.mark.parametrize("how", ["submit", "run"])
def test_a_failure_is_told_with_its_cause_and_counted(how: str, caplog: pytest.LogCaptureFixture) -> None:
    writer = BackgroundWriter()
    getattr(writer, how)(failing, "checkpoint-7")
    writer.join()
    assert (writer.finished, writer.failed) == (1, 1)
    assert "checkpoint-7 could not be saved" in caplog.text
    assert "No space left on device: 'model.safetensors'" in caplog.text
    getattr(writer, how)(lambda: None, "checkpoint-8")
    writer.join()
    assert (writer.finished, writer.failed) == (2, 1)


def test_what_is_no_checkpoint_enters_no_count() -> None:
    writer = BackgroundWriter()
    writer.submit(failing, "best", counts=False)
    writer.run(lambda: None, "best", counts=False)
    assert (writer.finished, writer.failed) == (0, 0)


def test_an_interrupt_is_not_taken_for_a_failed_save() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BackgroundWriter().run(interrupted, "checkpoint-1")


def test_joining_nothing_is_nothing() -> None:
    BackgroundWriter().join()


# --- copies -----------------------------------------------------------------------------------------------------------


def state(value: float) -> dict[str, object]:
    moments = {"step": torch.tensor(value), "exp_avg": torch.full((3,), value)}
    return {"state": {0: moments}, "groups": [{"lr": value, "betas": (0.9, 0.999)}], "pair": (torch.ones(2), None)}


def test_a_copy_has_the_same_values_and_shape_of_nest() -> None:
    copied = HostCopies().copy(state(2.0))
    assert copied["groups"] == [{"lr": 2.0, "betas": (0.9, 0.999)}]
    assert copied["state"][0]["exp_avg"].tolist() == [2.0] * 3
    assert copied["state"][0]["step"].shape == ()
    assert isinstance(copied["pair"], tuple)
    assert copied["pair"][1] is None


def test_what_training_changes_does_not_reach_the_copy() -> None:
    weights = {"weight": torch.nn.Parameter(torch.zeros(4)), "buffer": torch.arange(6).reshape(2, 3).T}
    copied = HostCopies().copy(weights)
    weights["weight"].data.fill_(1)
    assert copied["weight"].tolist() == [0.0] * 4
    assert not copied["weight"].requires_grad
    assert copied["buffer"].is_contiguous()  # so that a file holds its values alone
    assert copied["buffer"].equal(weights["buffer"])


def test_the_next_copy_takes_the_same_memory() -> None:
    copies = HostCopies()
    first = copies.copy(state(1.0))["state"][0]["exp_avg"]
    second = copies.copy(state(2.0))["state"][0]["exp_avg"]
    assert first.data_ptr() == second.data_ptr()
    assert second.tolist() == [2.0] * 3


@pytest.mark.parametrize("changed", [torch.zeros(5), torch.zeros(3, dtype=torch.bfloat16)])
def test_a_tensor_of_another_kind_takes_new_memory(changed: torch.Tensor) -> None:
    copies = HostCopies()
    copies.copy([torch.ones(3)])
    assert copies.copy([changed])[0].equal(changed)


def test_bytes_are_those_of_all_tensors() -> None:
    assert num_bytes(state(1.0)) == 4 + 3 * 4 + 2 * 4
    assert num_bytes({"bfloat16": torch.zeros(3, dtype=torch.bfloat16), "text": "abc"}) == 6
