from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from lt_trainer.models import attention
from lt_trainer.models.attention import attend, plan_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTHS = (3, 9, 1, 17, 5, 4)


def one_row_at_a_time(q, k, v, query_lengths: Sequence[int], key_lengths: Sequence[int]) -> torch.Tensor:
    """The definition: softmax(q k / sqrt(K)) v inside each row and head."""
    outputs = []
    groups = q.shape[1] // k.shape[1]
    for q_tHK, k_sHK, v_sHK in zip(q.split(query_lengths), k.split(key_lengths), v.split(key_lengths), strict=True):
        k_sHK, v_sHK = k_sHK.repeat_interleave(groups, 1), v_sHK.repeat_interleave(groups, 1)
        scores = torch.einsum("thk,shk->hts", q_tHK, k_sHK) / q.shape[-1] ** 0.5
        outputs.append(torch.einsum("hts,shk->thk", scores.softmax(-1), v_sHK))
    return torch.cat(outputs)


@pytest.fixture(params=[4, 4000], ids=["many tiles", "one tile"])
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORTH", request.param)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "query_lengths",
    [LENGTHS, (1,) * 6, (0, 2, 1, 0, 3, 0), (3, 9, 1, 17, 5, 0)],
    ids=["all", "first", "some", "not last"],
)
@pytest.mark.parametrize("key_heads", [4, 2])
def test_rows_see_themselves_alone(implementation: str, query_lengths: tuple[int, ...], key_heads: int) -> None:
    q = torch.randn(sum(query_lengths), 4, 8, dtype=torch.float64, requires_grad=True)
    k = torch.randn(sum(LENGTHS), key_heads, 8, dtype=torch.float64, requires_grad=True)
    v = torch.randn(sum(LENGTHS), key_heads, 8, dtype=torch.float64, requires_grad=True)
    plan = plan_attention(LENGTHS, 4, key_heads)
    if query_lengths != LENGTHS:
        plan = plan.asked_by(query_lengths, 4)
    ours = attend(q, k, v, plan, implementation=implementation)
    naive = one_row_at_a_time(q, k, v, query_lengths, LENGTHS)
    torch.testing.assert_close(ours, naive)
    weight = torch.randn_like(naive)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weight).sum(), (q, k, v)),
        torch.autograd.grad((naive * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_rows_of_like_length_share_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORTH", 4)
    plan = plan_attention(LENGTHS, 2)
    assert plan.rows == ((3,), (1,), (4, 5), (0,), (2,))  # of 17; 9; 5 and 4; 3; 1 tokens
    assert [real is None for real in plan.seen] == [True, True, False, True, True]
    assert plan.keys.sizes == [2 * 17, 2 * 9, 2 * 2 * 5, 2 * 3, 2 * 1]


def test_another_device_than_the_cpu_gets_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORTH", 4)
    assert plan_attention(LENGTHS, 2, device=torch.device("meta")).rows == (tuple(range(6)),)


def test_slots_by_hand() -> None:
    """Rows of 2 and 1 tokens, 2 heads: a rectangle [row, head, column] whose slots 5 and 7 are padding."""
    plan = plan_attention((2, 1), 2)
    assert plan.keys.slot.tolist() == [0, 2, 1, 3, 4, 6]  # (token, head): (0, 0) (0, 1) (1, 0) (1, 1) (2, 0) (2, 1)
    assert [plan.keys.source[slot].item() for slot in plan.keys.slot] == [0, 1, 2, 3, 4, 5]
    assert plan.keys.sizes == [8]


def test_a_full_batch_needs_no_mask() -> None:
    assert plan_attention((4, 4), 1).seen == (None,)


@pytest.mark.parametrize("implementation", ["sdpa", "eager", None])
def test_dropout_leaves_the_mean_alone(implementation: str | None) -> None:
    lengths = (6, 3)
    q, k = torch.randn(9, 1, 4), torch.randn(9, 1, 4)
    v = torch.randn(9, 1, 4) + 1
    plan = plan_attention(lengths, 1)
    expected = attend(q, k, v, plan)
    draws = torch.stack([attend(q, k, v, plan, dropout=0.3, implementation=implementation) for _ in range(3000)])
    torch.testing.assert_close(draws.mean(0), expected, atol=0.06, rtol=0.0)
    assert draws.std(0).min() > 0


def test_scale_replaces_the_usual_one() -> None:
    q, k, v = (torch.randn(5, 2, 4) for _ in range(3))
    plan = plan_attention((5,), 2)
    torch.testing.assert_close(attend(q, k, v, plan, scale=1.0), attend(q * 2, k, v, plan))  # 1 = 2 * 4 ** -0.5
