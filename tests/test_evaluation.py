"""Evaluations: exact losses and arrays in row order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lt_trainer.drivers.base import Driver
from lt_trainer.evaluation import Evaluation, Part, concatenate, take, to_numpy

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
    predictions, labels = evaluation.predictions(ONE_PROCESS)
    assert predictions.ravel().tolist() == [0, 1, 2, 3]
    assert labels.tolist() == [0, 1, 2, 3]


def test_parts_of_several_processes_are_put_together():
    class TwoProcesses(Driver):
        def gather(self, value):
            return [value, other.pop(0)]

    other: list[object] = [([1], [np.array([[1.0]])], [None])]
    evaluation = Evaluation(keep_predictions=True)
    evaluation.add(Part([0], None, 0, torch.tensor([[0.0]])))
    predictions, labels = evaluation.predictions(TwoProcesses(None))  # type: ignore[arg-type]
    assert predictions.tolist() == [[0.0], [1.0]]
    assert labels is None
    other[:] = [(4.0, 3)]
    evaluation.add(Part([0], torch.tensor(4.0), 1))
    assert evaluation.loss(TwoProcesses(None)) == 2.0  # type: ignore[arg-type]


def test_rows_of_different_lengths_are_filled_up_on_the_right():
    whole = concatenate([np.ones((1, 2), int), np.ones((2, 3), int)])
    assert whole.tolist() == [[1, 1, -100], [1, 1, 1], [1, 1, 1]]


def test_tuples_of_arrays_stay_tuples():
    first, second = concatenate([(np.zeros((1, 2)), np.zeros(1)), (np.ones((1, 2)), np.ones(1))])
    assert first.tolist() == [[0, 0], [1, 1]]
    assert take((first, second), np.array([1, 0]))[1].tolist() == [1, 0]


def test_bfloat16_becomes_float32():
    assert to_numpy(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
