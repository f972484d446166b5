"""Relative positions as a bias of the attention scores.

Dimension letters: H heads, L the longest row.

Source: https://arxiv.org/abs/1910.10683
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class RelativeBias(nn.Embedding):
    """A number for each bucket of distances and each head.

    Args:
        num_buckets: rows of the table.
        num_heads: H.
        furthest: distances from here on share the last bucket.
    """

    def __init__(self, num_buckets: int, num_heads: int, furthest: int) -> None:
        super().__init__(num_buckets, num_heads)
        self.furthest = furthest

    def table(self, longest: int, *, both_ways: bool) -> Tensor:
        """What is added to the scores, [H, L, L]: of the distance alone, so made of 2L - 1 numbers a head.

        Args:
            longest: L.
            both_ways: whether tokens ask those that follow them too.
        """
        distance = torch.arange(1 - longest, longest, device=self.weight.device)  # asked minus asking position
        value_H = self(distance_bucket(distance, self.num_embeddings, self.furthest, both_ways)).T
        windows: Tensor = value_H.unfold(1, longest, 1)  # asking token i has the one that begins at L - 1 - i
        return windows.flip(1)


def distance_bucket(distance: Tensor, num_buckets: int, furthest: int, both_ways: bool) -> Tensor:
    """The bucket of each distance (asked minus asking position): one each near by, wider and wider further off.

    Args:
        distance: int64, any shape.
        num_buckets: of the table.
        furthest: distances from here on share the last bucket.
        both_ways: half of the buckets are for tokens that follow; else those count as distance 0.
    """
    following = torch.zeros_like(distance)
    if both_ways:
        num_buckets //= 2
        following = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = num_buckets // 2
    share = torch.log(distance.clamp(min=1).float() / exact) / math.log(furthest / exact)
    wide = (exact + (share * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return following + torch.where(distance < exact, distance, wide)
