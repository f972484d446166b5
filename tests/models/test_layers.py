from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lt_trainer.models.layers import (
    ACTIVATIONS,
    Conv1D,
    Dropout,
    RMSNorm,
    activate,
    add_dropped,
    add_norm,
    dropout,
    keep_mask,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_makes_up_for_it(p: float) -> None:
    keep = keep_mask(torch.empty(400_000), p)
    assert keep.unique().numel() == 2
    assert (keep == 0).float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 400_000) ** 0.5)
    threshold = round(p * 65536)
    assert keep.max().item() == pytest.approx(65536 / (65536 - threshold), rel=1e-6)  # so the mean is 1 exactly


def test_decisions_do_not_depend_on_each_other() -> None:
    """Four decisions come from one random number: neighbours at each distance agree as often as chance has it."""
    dropped = keep_mask(torch.empty(1_000_000), 0.5) == 0
    for distance in (1, 2, 3, 4, 8):
        both = (dropped[:-distance] & dropped[distance:]).float().mean().item()
        assert both == pytest.approx(0.25, abs=0.0025)


def test_random_state_alone_reproduces_the_mask() -> None:
    state = torch.get_rng_state()
    first = keep_mask(torch.empty(7, 5), 0.3)
    assert not torch.equal(first, keep_mask(torch.empty(7, 5), 0.3))
    torch.set_rng_state(state)
    assert torch.equal(first, keep_mask(torch.empty(7, 5), 0.3))


@pytest.mark.parametrize("shape", [(0, 4), (1,), (3,), (2, 5), (1, 3, 7)])
def test_any_number_of_elements(shape: tuple[int, ...]) -> None:
    assert keep_mask(torch.empty(shape), 0.5).shape == shape


def test_a_share_too_small_for_sixteen_bits_drops_nothing_and_one_near_all_keeps_finite() -> None:
    assert keep_mask(torch.empty(1000), 1e-7).eq(1).all()
    assert keep_mask(torch.empty(1000), 0.9999999).isfinite().all()


def test_dropout_is_the_identity_in_evaluation() -> None:
    x = torch.ones(100)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    module = Dropout(0.5)
    assert (module(x) == 0).any()
    assert module.eval()(x) is x


def test_the_gradient_goes_where_the_value_went() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = dropout(x, 0.3, training=True)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_add_norm_is_the_norm_of_the_sum() -> None:
    norm = nn.LayerNorm(6).eval()
    x, residual = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(add_norm(x, residual, norm, 0.5), norm(x + residual))


def test_add_norm_drops_of_the_new_part_alone() -> None:
    norm = nn.LayerNorm(512, elementwise_affine=False).train()
    x, residual = torch.randn(2, 512, requires_grad=True), torch.randn(2, 512, requires_grad=True)
    state = torch.get_rng_state()
    y = add_norm(x, residual, norm, 0.5)
    torch.set_rng_state(state)
    torch.testing.assert_close(y, norm(residual + x * keep_mask(x, 0.5)))
    y.pow(3).sum().backward()
    assert (x.grad == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (residual.grad != 0).all()


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh"])
def test_the_approximate_gelu_is_the_public_formula(name: str) -> None:
    x = torch.linspace(-4, 4, 33)
    formula = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    torch.testing.assert_close(ACTIVATIONS[name](x), formula)
    assert not torch.equal(ACTIVATIONS[name](x), F.gelu(x))


def test_add_dropped_is_the_sum_in_evaluation() -> None:
    x, residual = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(add_dropped(x, residual, 0.5, training=False), residual + x)
    dropped = add_dropped(x, residual, 0.5, training=True) - residual
    assert ((dropped.abs() < 1e-6) | ((dropped - 2 * x).abs() < 1e-5)).all()


def test_rms_norm_by_hand() -> None:
    norm = RMSNorm(2, eps=0.0)
    torch.testing.assert_close(norm(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 4.0]]) / 12.5**0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(norm(torch.tensor([[1.0, 1.0]])), torch.tensor([[2.0, 0.5]]))
    assert norm.bfloat16()(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_the_published_layer_of_gpt2_is_a_linear_one_of_the_other_layout() -> None:
    layer, linear = Conv1D(6, 4), nn.Linear(4, 6)
    with torch.no_grad():
        layer.weight.copy_(linear.weight.T)
        layer.bias.copy_(linear.bias)
    x = torch.randn(3, 4)
    torch.testing.assert_close(layer(x), linear(x))
    torch.testing.assert_close(layer(x, slice(2, 5)), linear(x)[:, 2:5])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("made", [lambda: nn.Linear(5, 20), lambda: Conv1D(20, 5)])
def test_an_activation_over_its_projection_is_the_activation(name: str, made: Callable[[], nn.Module]) -> None:
    projection, x = made(), torch.randn(7, 5)
    kept = x.clone()
    expected = ACTIVATIONS[name](projection(x))
    with torch.no_grad():
        assert torch.equal(activate(projection, x, ACTIVATIONS[name]), expected)
    assert torch.equal(activate(projection, x, ACTIVATIONS[name]), expected)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("every", [False, True])
def test_what_a_hook_keeps_of_a_projection_stays_what_it_was(every: bool) -> None:
    projection, x, seen = nn.Linear(5, 20), torch.randn(7, 5), []
    keep = lambda module, args, output: seen.append(output)  # noqa: E731
    register = nn.modules.module.register_module_forward_hook if every else projection.register_forward_hook
    with torch.no_grad(), register(keep):
        activate(projection, x, ACTIVATIONS["gelu"])
    assert torch.equal(seen[0], projection(x))


def test_what_stands_in_a_projections_place_may_return_what_it_took() -> None:
    x = torch.randn(7, 5)
    kept = x.clone()
    with torch.no_grad():
        activate(nn.Identity(), x, ACTIVATIONS["gelu"])
    assert torch.equal(x, kept)


class Remembering(nn.Linear):
    """Remembers where its last output lies."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = super().forward(input)
        self.address = output.data_ptr()
        return output


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu"])
def test_an_activation_takes_its_projections_memory_where_no_gradient_needs_it(name: str) -> None:
    projection, x = Remembering(5, 20), torch.randn(7, 5)
    with torch.no_grad():
        assert activate(projection, x, ACTIVATIONS[name]).data_ptr() == projection.address
    assert activate(projection, x, ACTIVATIONS[name]).data_ptr() != projection.address
