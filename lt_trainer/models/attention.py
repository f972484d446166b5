"""Attention between packed tokens: the one place that chooses how it is computed.

Dimension letters: B rows, T padded length, N packed tokens, H heads, K head width; Q tokens that ask; S tokens that
are asked, those of the source (in self-attention Q and S are N); R tokens that are read: those that ask where only some
do; b, t and s: rows, asking and asked length of a tile; L: the longest of all tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from lt_trainer.models.layers import keep_mask
from lt_trainer.packed import select_rows, spread_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_LIKE = 0.7  # a tile's shortest row, as a share of its longest
_WORTH = 4000  # pairs of tokens below which a tile costs more in calls than it saves


@dataclass(frozen=True)
class Side:
    """Where the heads of one side's tokens lie in the tiles, which follow each other, each laid out as [b, H, length].

    Attributes:
        source: for each slot of the tiles the token and head in it, as token * H + head; any at a pad slot.
        slot: for each token and head its slot.
        sizes: slots of each tile.
    """

    source: Tensor
    slot: Tensor
    sizes: list[int]


@dataclass(frozen=True)
class AttentionPlan:
    """How the rows of a batch are laid out for the kernel: made once a batch, used by every layer.

    Attributes:
        queries: where the tokens that ask lie.
        keys: where the tokens that are asked lie.
        rows: the row numbers of each tile, a rectangle that holds rows of like length.
        seen: for each tile bool, broadcast to [b, H, t, s], True = a token that is asked; None where all are.
        key_lengths: asked tokens of each row.
        causal: a token asks those up to its own place in the row; where `seen` is None the kernel's triangle says so.
        bias: for each tile what is added to the scores, [b or 1, H, t, s]; it holds `seen` and `causal` too.
    """

    queries: Side
    keys: Side
    rows: tuple[tuple[int, ...], ...]
    seen: tuple[Tensor | None, ...]
    key_lengths: tuple[int, ...]
    causal: bool = False
    bias: tuple[Tensor, ...] | None = None

    def asked_by(self, query_lengths: Sequence[int], num_heads: int, index_R: Tensor | None = None) -> AttentionPlan:
        """The plan for some of the tokens asking all of them.

        Args:
            query_lengths: how many tokens of each row ask, 0 allowed but not in all.
            num_heads: H of what they ask.
            index_R: their packed positions, ascending; needed where the plan is causal.
        """
        assert self.bias is None, "add the bias to the plan of those that ask"
        queries = _side(query_lengths, self.rows, num_heads, self.keys.slot.device)
        if not self.causal:
            return replace(self, queries=queries)
        assert index_R is not None
        start_B = torch.tensor([0, *accumulate(self.key_lengths[:-1])], device=index_R.device)
        column_R = index_R - start_B.repeat_interleave(torch.tensor(query_lengths, device=index_R.device))
        columns = [x.tolist() for x in column_R.cpu().split(list(query_lengths))]
        seen = tuple(
            _up_to([columns[row] for row in tile], max(self.key_lengths[row] for row in tile)).to(index_R.device)
            for tile in self.rows
        )
        return replace(self, queries=queries, seen=seen)

    def with_bias(self, bias_HLL: Tensor) -> AttentionPlan:
        """Adds to all scores what depends on the places in the row: [H, longest asking, longest asked tile].

        Each tile takes its corner, so nothing is as large as the batch; rows of equal length share one.
        """
        bias = []
        for size, rows, seen in zip(self.queries.sizes, self.rows, self.seen, strict=True):
            t, s = size // (len(rows) * bias_HLL.shape[0]), max(self.key_lengths[row] for row in rows)
            tile = bias_HLL[None, :, :t, :s]
            if self.causal and seen is None:
                seen = torch.ones(t, s, dtype=torch.bool, device=tile.device).tril()
            if tile.requires_grad:  # then products and gradients take it without a copy in each layer
                tile = tile.expand(len(rows), -1, -1, -1)
            bias.append(tile.contiguous() if seen is None else tile + _additive(seen, tile.dtype))
        return replace(self, bias=tuple(bias))


def plan_attention(
    lengths: Sequence[int],
    num_heads: int,
    num_key_heads: int | None = None,
    device: torch.device | None = None,
    *,
    key_lengths: Sequence[int] | None = None,
    causal: bool = False,
) -> AttentionPlan:
    """Cuts the rows of a batch into tiles: all tokens ask all tokens of their row.

    Args:
        lengths: tokens of each of the B rows.
        num_heads: H.
        num_key_heads: heads of keys and values where several query heads share one; None = H.
        device: of the indices; None is the CPU.
        key_lengths: asked tokens of each row where others are asked (a decoder asks an encoder's); None = the same.
        causal: a token asks only those up to itself; not where others are asked.
    """
    device = device or torch.device("cpu")
    asked = lengths if key_lengths is None else key_lengths
    rows = _group(lengths, asked) if device.type == "cpu" else (tuple(range(len(lengths))),)
    keys = _side(asked, rows, num_key_heads or num_heads, device)
    same = key_lengths is None and num_key_heads in (None, num_heads)
    queries = keys if same else _side(lengths, rows, num_heads, device)
    # Rows begin at column 0 of their tile, so a token that asks none after itself asks no pad slot either.
    seen = tuple(None if causal else _real([asked[row] for row in tile], device) for tile in rows)
    return AttentionPlan(queries, keys, rows, seen, tuple(asked), causal)


def attend(
    q_QHK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    plan: AttentionPlan,
    *,
    dropout: float = 0.0,
    scale: float | None = None,
    implementation: str | None = None,
) -> Tensor:
    """Softmax attention inside each row; no token sees another row, and no pad slot is seen.

    Args:
        q_QHK: what the tokens ask.
        k_SHK: what the tokens are asked for; H may be fewer than the queries' H by a whole factor.
        v_SHK: what they answer.
        plan: of the rows' lengths and of these numbers of heads; causal or biased where it says so.
        dropout: share of the attention weights that is dropped; 0 in evaluation.
        scale: factor of the scores; None = K ** -0.5.
        implementation: "sdpa" (torch's fused kernels), "eager" (matrix products), or None for the fastest here.

    Returns:
        [Q, H, K].
    """
    scale = q_QHK.shape[-1] ** -0.5 if scale is None else scale
    path = _attend_eager if (implementation or _fastest(q_QHK, plan, dropout)) == "eager" else _attend_sdpa
    masks: Sequence[Tensor | None] = plan.seen if plan.bias is None else plan.bias
    tiles = (_cut(q_QHK, plan.queries), _cut(k_SHK, plan.keys), _cut(v_SHK, plan.keys), plan.rows, masks)
    outputs = []
    for q, k, v, rows, mask in zip(*tiles, strict=True):
        if q.shape[0]:  # nobody may ask in the rows of a tile
            q_bHtK = q.view(len(rows), q_QHK.shape[1], -1, q.shape[-1])
            k_bHsK, v_bHsK = (x.view(len(rows), k_SHK.shape[1], -1, q.shape[-1]) for x in (k, v))
            causal = plan.causal and mask is None
            outputs.append(path(q_bHtK, k_bHsK, v_bHsK, mask, causal, dropout, scale).reshape(q.shape))
    flat = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
    return select_rows(flat, plan.queries.slot).view(q_QHK.shape)


def _fastest(q: Tensor, plan: AttentionPlan, dropout: float) -> str:
    """The fused kernel of the CPU has no dropout and no gradient of a bias: it would fall back to a slower copy."""
    learns_bias = plan.bias is not None and plan.bias[0].requires_grad and torch.is_grad_enabled()
    return "eager" if q.device.type == "cpu" and (dropout > 0.0 or learns_bias) else "sdpa"


def _attend_sdpa(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, dropout: float, scale: float
) -> Tensor:
    if mask is not None and mask.is_floating_point():
        mask = mask.to(q.dtype)
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def _attend_eager(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, dropout: float, scale: float
) -> Tensor:
    """[b, H, t, K] from products of three dimensions: a batched product of four copies its inputs."""
    b, heads, t, width = q.shape
    q = q.view(b * heads, t, width)
    k, v = (x.repeat_interleave(heads // x.shape[1], dim=1).view(b * heads, -1, width) for x in (k, v))
    if causal:
        mask = torch.ones(t, k.shape[1], dtype=torch.bool, device=q.device).tril()[None, None]
    if mask is None:
        scores = torch.bmm(q * scale, k.transpose(1, 2))
    else:
        bias = mask.to(q.dtype) if mask.is_floating_point() else _additive(mask, q.dtype)
        rows = 1 if bias.shape[:2] == (1, 1) else b * heads  # what all rows and heads share is not copied for each
        bias = bias.expand(b if rows > 1 else 1, heads if rows > 1 else 1, -1, -1).reshape(rows, *bias.shape[2:])
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)
    weights = F.softmax(scores, dim=-1)
    if dropout:
        weights = weights * keep_mask(weights, dropout)
    return torch.bmm(weights, v).view(b, heads, t, width)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `seen`, else the most negative number: finite, so that a slot that sees nothing is no NaN."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _up_to(columns: list[list[int]], length: int) -> Tensor:
    """[b, 1, t, s] bool: a token in column c sees columns 0 to c; pad slots see the first."""
    width = max(map(len, columns))
    column_bt = torch.tensor([row + [0] * (width - len(row)) for row in columns], dtype=torch.int64)
    return (torch.arange(length) <= column_bt.view(len(columns), width, 1))[:, None]


def _group(lengths: Sequence[int], key_lengths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Row numbers of each tile: rows of like length share one, so that little of a rectangle is padding.

    Of 16 sentences of SST-2, 27 tokens long on average and 53 the longest, 3.2 tiles hold 20 thousand pairs of tokens
    where one rectangle holds 46 and the rows themselves 15.
    """
    pairs = [asking * asked for asking, asked in zip(lengths, key_lengths, strict=True)]
    groups: list[list[int]] = [[]]
    t = s = 0  # sides of the last group's rectangle
    for row in sorted(range(len(pairs)), key=lambda row: -pairs[row]):
        if pairs[row] < _LIKE**2 * t * s and len(groups[-1]) * t * s >= _WORTH:
            groups.append([])
            t = s = 0
        groups[-1].append(row)
        t, s = max(t, lengths[row]), max(s, key_lengths[row])
    return tuple(tuple(group) for group in groups)


def _real(lengths: Sequence[int], device: torch.device) -> Tensor | None:
    """[b, 1, 1, longest] bool, True = a token; None where all are."""
    if min(lengths) == max(lengths):
        return None
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None, None, :].to(device)


def _side(lengths: Sequence[int], tiles: Sequence[Sequence[int]], heads: int, device: torch.device) -> Side:
    blocks, widths = [0] * len(lengths), [0] * len(lengths)
    sizes: list[int] = []
    for rows in tiles:
        width, base = max(lengths[row] for row in rows), sum(sizes)
        for place, row in enumerate(rows):
            blocks[row], widths[row] = base + place * heads * width, width
        sizes.append(len(rows) * heads * width)
    length_B, block_B, width_B = torch.tensor([lengths, blocks, widths])
    row_N = torch.arange(len(lengths)).repeat_interleave(length_B)
    column_N = torch.arange(len(row_N)) - (length_B.cumsum(0) - length_B)[row_N]
    slot_NH = (block_B[row_N] + column_N)[:, None] + width_B[row_N][:, None] * torch.arange(heads)
    source = torch.zeros(sum(sizes), dtype=torch.int64)
    source[slot_NH.flatten()] = torch.arange(slot_NH.numel())
    return Side(source.to(device), slot_NH.flatten().to(device), sizes)


def _cut(x_NHK: Tensor, side: Side) -> tuple[Tensor, ...]:
    """The slots of each tile: [b * H * length, K]."""
    return torch.split(spread_rows(x_NHK.reshape(-1, x_NHK.shape[-1]), side.source, side.slot), side.sizes)
