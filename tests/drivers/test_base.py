"""One process: norms and clipping as torch does them."""

from __future__ import annotations

import copy

import pytest
import torch

from lt_trainer.drivers import driver_for
from lt_trainer.drivers.base import Driver

DRIVER = Driver(None)  # type: ignore[arg-type]


def parameters(scale):
    torch.manual_seed(0)
    made = [
        torch.nn.Parameter(torch.zeros(3, 2)),
        torch.nn.Parameter(torch.zeros(4)),
        torch.nn.Parameter(torch.zeros(1)),
    ]
    for parameter in made[:2]:  # the last has no gradient
        parameter.grad = torch.randn_like(parameter) * scale
    return made


@pytest.mark.parametrize("scale", [10.0, 0.01])
def test_clipping_equals_that_of_torch(scale):
    ours, theirs = parameters(scale), parameters(scale)
    norm, expected = DRIVER.clip(ours, 1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(norm, expected)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_maximum_of_zero_only_measures():
    ours = parameters(10.0)
    before = copy.deepcopy([p.grad for p in ours[:2]])
    assert float(DRIVER.clip(ours, 0.0)) > 1
    for parameter, gradient in zip(ours, before, strict=False):
        assert torch.equal(parameter.grad, gradient)


def test_an_infinite_norm_is_told_and_makes_no_nan_of_finite_gradients():
    ours = parameters(1.0)
    ours[0].grad[0, 0] = torch.inf
    assert torch.isinf(DRIVER.clip(ours, 1.0))


def test_one_process_sums_and_gathers_itself():
    assert DRIVER.sum(torch.tensor(3)).item() == 3
    assert DRIVER.gather("x") == ["x"]
    assert DRIVER.world_size == 1


def test_a_strategy_without_a_driver_is_named():
    class Odd:
        strategy = object()

    with pytest.raises(NotImplementedError, match=r"strategy object.*DDPStrategy.*SingleDeviceStrategy"):
        driver_for(Odd())  # type: ignore[arg-type]
