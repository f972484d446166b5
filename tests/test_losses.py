from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lt_trainer import losses


def test_cross_entropy_sums_over_targets_and_counts_them() -> None:
    total, count = losses.cross_entropy(torch.zeros(3, 4), torch.tensor([0, -100, 3]))
    assert total.item() == pytest.approx(2 * math.log(4))
    assert count.item() == 2


def test_mean_loss_divides_by_the_batch_or_by_the_step() -> None:
    part = (torch.tensor(6.0), torch.tensor(3))
    assert losses.mean_loss(part).item() == 2
    assert losses.mean_loss(part, 12).item() == 0.5
    assert losses.mean_loss(part, torch.tensor(4)).item() == 1.5


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.full((5000, 2), 0.5, dtype=torch.bfloat16)
    total, _ = losses.cross_entropy(logits, torch.zeros(5000, dtype=torch.long))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(5000 * math.log(2), rel=1e-5)


def test_errors_of_numbers_count_every_element() -> None:
    total, count = losses.squared_error(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0, 2], [3, 6]]))
    assert (total.item(), count.item()) == (5, 4)


def test_yes_or_no_classes_count_every_element() -> None:
    total, count = losses.binary_cross_entropy(torch.zeros(2, 3), torch.tensor([[1, 0, 1], [0, 0, 1]]))
    assert total.item() == pytest.approx(6 * math.log(2))
    assert count.item() == 6


def test_a_span_is_the_mean_of_its_ends_over_the_positions_that_exist() -> None:
    start_BT = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    total, count = losses.span(start_BT, start_BT, torch.tensor([1, -100]), torch.tensor([0, -100]))
    assert total.item() == pytest.approx(math.log(2))
    assert count.item() == 1


@pytest.fixture
def projection() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden_RD = torch.randn(7, 5, generator=draw, dtype=torch.float64)
    weight_VD = torch.randn(11, 5, generator=draw, dtype=torch.float64)
    bias_V = torch.randn(11, generator=draw, dtype=torch.float64)
    return hidden_RD, weight_VD, bias_V, torch.tensor([0, 10, -100, 3, 3, -100, 7])


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_chunks_of_logits_give_the_dense_loss_and_gradients(projection, chunk_rows, smoothing, with_bias) -> None:
    *inputs, labels = projection
    ours = [x.clone().requires_grad_() for x in inputs]
    dense = [x.clone().requires_grad_() for x in inputs]
    bias = ours[2] if with_bias else None
    total, count = losses.linear_cross_entropy(ours[0], ours[1], bias, labels, smoothing, chunk_rows)
    logits = F.linear(dense[0], dense[1], dense[2] if with_bias else None)
    expected = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert count.item() == 5
    (3 * total).backward()
    (3 * expected).backward()
    for mine, theirs in zip(ours, dense, strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_no_more_rows_of_logits_exist_than_a_chunk(projection, monkeypatch: pytest.MonkeyPatch) -> None:
    *inputs, labels = projection
    rows = []
    chunk = losses._chunk
    monkeypatch.setattr(losses, "_chunk", lambda logits, *rest: rows.append(logits.shape[0]) or chunk(logits, *rest))
    losses.linear_cross_entropy(*(x.requires_grad_() for x in inputs), labels, chunk_rows=3)[0].backward()
    assert rows == [3, 3, 1]


def test_a_frozen_projection_gets_no_gradient(projection) -> None:
    hidden, weight, bias, labels = projection
    losses.linear_cross_entropy(hidden.requires_grad_(), weight, bias, labels)[0].backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_no_target_is_a_loss_of_zero_with_gradients_of_zero(projection) -> None:
    hidden, weight, bias, _ = projection
    total, count = losses.linear_cross_entropy(hidden[:0], weight.requires_grad_(), bias, torch.empty(0).long())
    total.backward()
    assert (total.item(), count.item()) == (0, 0)
    assert weight.grad is not None
    assert weight.grad.abs().max() == 0


def test_autocast_computes_logits_in_bfloat16_and_keeps_float32_gradients(projection) -> None:
    *inputs, labels = projection
    hidden, weight, bias = (x.float().requires_grad_() for x in inputs)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = losses.linear_cross_entropy(hidden, weight, bias, labels)
    total.backward()
    expected = F.cross_entropy(F.linear(*(x.float() for x in inputs)), labels, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=2e-2)
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
