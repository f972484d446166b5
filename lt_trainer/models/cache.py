"""Keys and values of tokens that have been read: what makes the next token cost one token.

Dimension letters: B rows, N packed tokens, H heads, K head width, s slots that are filled, V vocabulary.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from lt_trainer.models.attention import AttentionPlan, attend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Slots:
    """Where the tokens of rows lie in a rectangle of slots: each row ends at one column, shorter ones begin later.

    So the next token of every row has the same column, and is written without moving what is there.

    Args:
        lengths: tokens of each row.
        room: tokens that may still come.
    """

    def __init__(self, lengths: Sequence[int], room: int = 0, device: torch.device | None = None) -> None:
        self.filled = max(lengths)
        self.capacity = self.filled + room
        self.bias: Tensor | None = None  # added to the scores of the next token, [H, 1, s]
        self.start_B = self.filled - torch.tensor(lengths, device=device)
        start_N = self.start_B.repeat_interleave(torch.tensor(lengths, device=device))
        first = torch.tensor([0, *accumulate(lengths[:-1])], device=device)
        row_N = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
        self.index_N = row_N * self.capacity + start_N + torch.arange(len(row_N), device=device) - first[row_N]

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.start_B)

    def seen(self) -> Tensor | None:
        """[B, 1, 1, s] bool, True = a token; None where all slots are."""
        if not self.start_B.any():
            return None
        return (torch.arange(self.filled, device=self.start_B.device) >= self.start_B[:, None])[:, None, None]

    def take(self, row_b: Tensor) -> None:
        """Keeps these rows, in this order; a row may come several times."""
        self.start_B = self.start_B[row_b]


class LayerCache:
    """The keys and values of one layer, [B, capacity, H, K] each.

    Args:
        slots: where the rows' tokens lie.
        is_source: they are an encoder's: read once, asked by every token.
    """

    def __init__(self, slots: Slots, is_source: bool = False) -> None:
        self.slots, self.is_source = slots, is_source
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def fill(self, k_NHK: Tensor, v_NHK: Tensor) -> None:
        """Takes in the tokens of all rows, packed."""
        shape = (self.slots.num_rows * self.slots.capacity, *k_NHK.shape[1:])
        self.keys, self.values = (
            x.new_zeros(shape).index_copy_(0, self.slots.index_N, x).view(-1, self.slots.capacity, *x.shape[1:])
            for x in (k_NHK, v_NHK)
        )

    def attend(
        self,
        q_NHK: Tensor,
        k_NHK: Tensor,
        v_NHK: Tensor,
        plan: AttentionPlan | None,
        scale: float,
    ) -> Tensor:
        """Attention among the tokens of the first reading, or of the next token of each row to all before it.

        Args:
            q_NHK: what the tokens ask.
            k_NHK: their keys, which are kept.
            v_NHK: their values, which are kept.
            plan: of the first reading; None = one token a row.
            scale: factor of the scores.
        """
        if plan is not None:
            self.fill(k_NHK, v_NHK)
            return attend(q_NHK, k_NHK, v_NHK, plan, scale=scale)
        assert self.keys is not None and self.values is not None  # noqa: PT018
        column = self.slots.filled - 1
        self.keys[:, column], self.values[:, column] = k_NHK, v_NHK
        return self.ask(q_NHK, scale)

    def ask(self, q_NHK: Tensor, scale: float) -> Tensor:
        """Tokens ask what is kept; several in a line may belong to one row (beams of one source)."""
        assert self.keys is not None and self.values is not None  # noqa: PT018
        q = q_NHK.view(self.slots.num_rows, -1, *q_NHK.shape[1:]).transpose(1, 2)
        k, v = (x[:, : self.slots.filled].transpose(1, 2) for x in (self.keys, self.values))
        mask, bias = self.slots.seen(), self.slots.bias
        if bias is not None:
            mask = bias[None] if mask is None else bias[None].masked_fill(~mask, torch.finfo(bias.dtype).min)
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2).reshape(q_NHK.shape)

    def take(self, row_b: Tensor) -> None:
        """Keeps these rows, in this order."""
        assert self.keys is not None and self.values is not None  # noqa: PT018
        filled = self.slots.filled
        for name, old in (("keys", self.keys), ("values", self.values)):
            new = old.new_empty(len(row_b), *old.shape[1:])
            new[:, :filled] = old[:, :filled].index_select(0, row_b)
            setattr(self, name, new)


class Cache:
    """The caches of all layers, of a decoder and of the source that it asks.

    Args:
        lengths: tokens of each row of the prompt.
        num_layers: of the decoder.
        room: tokens that may come.
        device: of the model.
        source_lengths: tokens of each row of the source; None without one.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        num_layers: int,
        room: int,
        device: torch.device,
        source_lengths: Sequence[int] | None = None,
    ) -> None:
        self.slots = Slots(lengths, room, device)
        self.layers = [LayerCache(self.slots) for _ in range(num_layers)]
        self.source = None if source_lengths is None else Slots(source_lengths, 0, device)
        self.source_layers = [] if self.source is None else [LayerCache(self.source, True) for _ in range(num_layers)]

    def pairs(self) -> list[tuple[LayerCache, LayerCache | None]]:
        """Of each layer its own cache and that of the source."""
        if self.source is None:
            return [(layer, None) for layer in self.layers]
        return list(zip(self.layers, self.source_layers, strict=True))

    def next_positions(self) -> Tensor:
        """Makes room for one token a row: its position in the row, [B]."""
        self.slots.filled += 1
        return self.slots.filled - 1 - self.slots.start_B

    def take(self, row_b: Tensor, source_row_b: Tensor | None = None) -> None:
        """Keeps these rows, in this order; of the source those rows, where they change."""
        if len(row_b) != self.slots.num_rows or not torch.equal(row_b, torch.arange(len(row_b), device=row_b.device)):
            for layer in self.layers:
                layer.take(row_b)
            self.slots.take(row_b)
        if source_row_b is not None and self.source is not None:
            for layer in self.source_layers:
                layer.take(source_row_b)
            self.source.take(source_row_b)
