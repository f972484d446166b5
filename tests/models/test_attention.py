from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from lt_trainer.models import attention
from lt_trainer.models.attention import attend, plan_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTHS = (3, 9, 1, 17, 5, 4)


def one_row_at_a_time(
    q, k, v, query_lengths: Sequence[int], key_lengths: Sequence[int], columns=None, bias=None
) -> torch.Tensor:
    """The definition: softmax(q k / sqrt(K) + bias) v inside each row and head, up to column c where given."""
    outputs = []
    groups = q.shape[1] // k.shape[1]
    for q_tHK, k_sHK, v_sHK in zip(q.split(query_lengths), k.split(key_lengths), v.split(key_lengths), strict=True):
        k_sHK, v_sHK = k_sHK.repeat_interleave(groups, 1), v_sHK.repeat_interleave(groups, 1)
        scores = torch.einsum("thk,shk->hts", q_tHK, k_sHK) / q.shape[-1] ** 0.5
        if bias is not None:
            scores = scores + bias[:, : scores.shape[1], : scores.shape[2]]
        if columns is not None:
            column_t1, columns = columns[: len(q_tHK), None], columns[len(q_tHK) :]
            scores = scores.masked_fill(torch.arange(len(k_sHK)) > column_t1, -torch.inf)
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


def heads_of(lengths: Sequence[int], heads: int = 4) -> torch.Tensor:
    return torch.randn(sum(lengths), heads, 8, dtype=torch.float64, requires_grad=True)


def assert_same(ours: torch.Tensor, naive: torch.Tensor, inputs: Sequence[torch.Tensor]) -> None:
    torch.testing.assert_close(ours, naive)
    weight = torch.randn_like(naive)
    mine, theirs = (torch.autograd.grad((x * weight).sum(), inputs) for x in (ours, naive))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


BOTH = pytest.mark.parametrize("implementation", ["sdpa", "eager"])
COLUMNS = torch.cat([torch.arange(length) for length in LENGTHS])


@pytest.mark.usefixtures("_tiles")
@BOTH
@pytest.mark.parametrize("key_heads", [4, 2])
def test_causal_tokens_see_none_after_themselves(implementation: str, key_heads: int) -> None:
    q, k, v = heads_of(LENGTHS), heads_of(LENGTHS, key_heads), heads_of(LENGTHS, key_heads)
    plan = plan_attention(LENGTHS, 4, key_heads, causal=True)
    assert plan.seen == (None,) * len(plan.rows)  # the kernel's triangle is enough, also beside pad slots
    naive = one_row_at_a_time(q, k, v, LENGTHS, LENGTHS, COLUMNS)
    assert_same(attend(q, k, v, plan, implementation=implementation), naive, (q, k, v))


@pytest.mark.usefixtures("_tiles")
@BOTH
def test_some_causal_tokens_ask(implementation: str) -> None:
    index_R = torch.tensor([1, 5, 6, 11, 13, 20, 29, 30, 36, 38])
    row_N = torch.arange(6).repeat_interleave(torch.tensor(LENGTHS))
    query_lengths, columns = tuple(row_N[index_R].bincount(minlength=6).tolist()), COLUMNS[index_R]
    assert query_lengths == (1, 3, 0, 3, 1, 2)
    q, k, v = heads_of(query_lengths), heads_of(LENGTHS), heads_of(LENGTHS)
    plan = plan_attention(LENGTHS, 4, causal=True).asked_by(query_lengths, 4, index_R)
    naive = one_row_at_a_time(q, k, v, query_lengths, LENGTHS, columns)
    assert_same(attend(q, k, v, plan, implementation=implementation), naive, (q, k, v))


@pytest.mark.usefixtures("_tiles")
@BOTH
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("learns", [True, False], ids=["learnt", "fixed"])
def test_a_bias_is_added_by_place_in_the_row(implementation: str, causal: bool, learns: bool) -> None:
    q, k, v = heads_of(LENGTHS), heads_of(LENGTHS), heads_of(LENGTHS)
    bias = torch.randn(4, 17, 17, dtype=torch.float64, requires_grad=learns)
    plan = plan_attention(LENGTHS, 4, causal=causal).with_bias(bias)
    assert plan.bias is not None
    assert all(x.shape[-1] == max(LENGTHS[row] for row in rows) for x, rows in zip(plan.bias, plan.rows, strict=True))
    naive = one_row_at_a_time(q, k, v, LENGTHS, LENGTHS, COLUMNS if causal else None, bias)
    inputs = (q, k, v, bias) if learns else (q, k, v)
    assert_same(attend(q, k, v, plan, implementation=implementation), naive, inputs)


@pytest.mark.usefixtures("_tiles")
@BOTH
def test_other_tokens_are_asked(implementation: str) -> None:
    asked = (8, 2, 11, 1, 5, 20)
    q, k, v = heads_of(LENGTHS), heads_of(asked), heads_of(asked)
    plan = plan_attention(LENGTHS, 4, key_lengths=asked)
    naive = one_row_at_a_time(q, k, v, LENGTHS, asked)
    assert_same(attend(q, k, v, plan, implementation=implementation), naive, (q, k, v))


def test_a_learnt_bias_and_dropout_take_the_path_that_is_not_a_fallback() -> None:
    q, plan = torch.zeros(3, 1, 4), plan_attention((3,), 1)
    learnt = plan.with_bias(torch.zeros(1, 3, 3, requires_grad=True))
    assert [attention._fastest(q, *x) for x in ((plan, 0.0), (plan, 0.1), (learnt, 0.0))] == ["sdpa", "eager", "eager"]
    with torch.no_grad():
        assert attention._fastest(q, learnt, 0.0) == "sdpa"


def test_tiles_of_two_sides_follow_their_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WORTH", 4)
    plan = plan_attention((2, 8, 7, 2), 1, key_lengths=(2, 8, 8, 3))
    assert plan.rows == ((1, 2), (3, 0))


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
