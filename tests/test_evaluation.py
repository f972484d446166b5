"""Evaluations: exact losses and arrays in row order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lt_trainer.drivers.base import Driver
from lt_trainer.evaluation import Evaluation, Kept, Part

ONE_PROCESS = Driver(None)  # type: ignore[arg-type]


def test_loss_is_the_sum_over_all_targets_and_not_a_mean_of_means():
    evaluation = Evaluation()
    evaluation.add(Part([0, 1, 2], torch.tensor(6.0), 3))
    evaluation.add(Part([3], torch.tensor(6.0), 1))
    assert evaluation.loss(ONE_PROCESS) == 3.0
    assert evaluation.num_rows(ONE_PROCESS) == 4


def test_many_small_losses_keep_their_digits():
    evaluation = Evaluation()
    for row in range(20_000):
        evaluation.add(Part([row], torch.tensor(0.1), 1))
    assert evaluation.loss(ONE_PROCESS) == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_without_labels_there_is_no_loss():
    evaluation = Evaluation()
    evaluation.add(Part([0], None, 0))
    assert evaluation.loss(ONE_PROCESS) is None


def test_no_target_at_all_is_nan_and_not_zero():
    evaluation = Evaluation()
    evaluation.add(Part([0], torch.tensor(0.0), 0))
    assert np.isnan(evaluation.loss(ONE_PROCESS))


def test_predictions_come_in_the_order_of_the_rows():
    evaluation = Evaluation(keep_predictions=True)
    evaluation.add(Part([3, 1], None, 0, torch.tensor([[3.0], [1.0]]), torch.tensor([3, 1])))
    evaluation.add(Part([0, 2], None, 0, torch.tensor([[0.0], [2.0]]), torch.tensor([0, 2])))
    kept = evaluation.collect(ONE_PROCESS)
    assert kept.predictions.ravel().tolist() == [0, 1, 2, 3]
    assert kept.labels.tolist() == [0, 1, 2, 3]


class SecondOfTwo(Driver):
    """The first process of two; `other` is what the second one sends, message after message."""

    def __init__(self, *other):
        self.other = list(other)

    world_size = 2

    def gather(self, value):
        return [value, self.other.pop(0)]


def test_parts_of_several_processes_are_put_together_in_row_order():
    evaluation = Evaluation(keep_predictions=True)
    evaluation.add(Part([0], torch.tensor(4.0), 1, torch.tensor([[0.0, 0.5]])))
    evaluation.add(Part([2], None, 0, torch.tensor([[2.0]])))
    theirs = [([1], Kept(np.array([[1.0]], np.float32))), None]  # it had no share of the second batch
    kept = evaluation.collect(SecondOfTwo((1, 4), theirs))
    assert kept.predictions.tolist() == [[0.0, 0.5], [1.0, -100.0], [2.0, -100.0]]
    assert kept.labels is None
    assert evaluation.loss(SecondOfTwo((4.0, 3))) == 2.0


def test_messages_between_processes_stay_small(monkeypatch):
    monkeypatch.setattr("lt_trainer.evaluation._MESSAGE", 8)
    evaluation = Evaluation(keep_predictions=True)
    for row in (0, 2, 4):
        evaluation.add(Part([row], None, 0, torch.tensor([[float(row)]])))
    theirs = [[([row], Kept(np.array([[float(row)]], np.float32)))] for row in (1, 3, 5)]
    driver = SecondOfTwo((3, 12), [*theirs[0], *theirs[1]], theirs[2])  # 12 bytes in all: two batches at a time
    assert evaluation.collect(driver).predictions.ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_process_that_reads_nothing_keeps_nothing():
    class Last(SecondOfTwo):
        rank = 1

    evaluation = Evaluation(keep_predictions=True)
    evaluation.add(Part([0], None, 0, torch.tensor([[0.0]])))
    theirs = [([1], Kept(np.array([[1.0]], np.float32)))]
    assert evaluation.collect(Last((1, 4), theirs), everywhere=False)[:-1] == Kept()[:-1]


def test_batches_stay_on_the_device_until_enough_are_there(monkeypatch):
    moved = []
    monkeypatch.setattr("lt_trainer.evaluation.to_numpy", lambda nest: moved.append(nest))
    evaluation = Evaluation(keep_predictions=True, hold=2)
    evaluation.add(Part([0], None, 0, torch.zeros(1, 1)))
    assert not moved
    evaluation.add(Part([1], None, 0, torch.zeros(1, 1)))
    assert len(moved) == 2 * len(Kept._fields[:-1])


def test_the_loss_of_a_row_is_the_mean_of_its_batch():
    evaluation = Evaluation(keep_predictions=True, keeps_losses=True)
    evaluation.add(Part([0, 1], torch.tensor(6.0), 3, torch.zeros(2, 1)))
    evaluation.add(Part([2], torch.tensor(5.0), 1, torch.zeros(1, 1)))
    assert evaluation.collect(ONE_PROCESS).losses.tolist() == [2.0, 2.0, 5.0]
