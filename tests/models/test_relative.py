"""Relative positions: buckets by hand, and a table that depends on the distance alone."""

from __future__ import annotations

import torch

from lt_trainer.models.relative import RelativeBias, distance_bucket


def test_buckets_are_single_near_by_and_wide_far_off() -> None:
    before = torch.tensor([0, -1, -2, -3, -4, -7, -8, -15, -16, -1000])
    assert distance_bucket(before, 8, 16, both_ways=False).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]


def test_tokens_that_follow_have_buckets_of_their_own_or_count_as_none() -> None:
    distance = torch.tensor([-3, -1, 0, 1, 3, 50])
    assert distance_bucket(distance, 8, 16, both_ways=True).tolist() == [2, 1, 0, 5, 6, 7]
    assert distance_bucket(distance, 8, 16, both_ways=False).tolist() == [3, 1, 0, 0, 0, 0]


def test_the_table_holds_the_number_of_each_distance() -> None:
    bias = RelativeBias(8, 2, 16)
    table = bias.table(5, both_ways=True)
    for i in range(5):
        for j in range(5):
            bucket = distance_bucket(torch.tensor(j - i), 8, 16, both_ways=True)
            assert torch.equal(table[:, i, j], bias.weight[bucket])
    table.sum().backward()
    assert bias.weight.grad[0].tolist() == [5.0, 5.0]  # the diagonal
