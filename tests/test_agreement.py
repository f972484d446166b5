"""Processes that would not train the same say so before they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from torch import nn

from lt_trainer import TrainingArguments
from lt_trainer.agreement import DisagreementError, agree, agree_on_norm, signature
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan

ROWS = [{"x": torch.tensor([float(i)]), "labels": i % 2} for i in range(7)]


class Several:
    """A driver that hears what others say."""

    def __init__(self, *others: object) -> None:
        self.others = others

    def gather(self, mine):
        return [mine, *self.others]


def signed(model=None, rows=ROWS, facts=None, **options):
    torch.manual_seed(0)
    args = TrainingArguments("out", max_steps=3, **options)
    return signature(plan(args, facts or Facts(num_train_rows=7)), model or nn.Linear(2, 2), rows)


def test_the_same_everywhere_is_silent() -> None:
    agree(Several(signed(), signed()), signed())
    assert signed(dataloader_num_workers=2) == signed()  # changes no number
    assert signed(rows=Dataset.from_list([{"a": 1}])) == signed(rows=Dataset.from_list([{"a": 1}]))


def test_norms_that_differ_are_told_with_their_ranks() -> None:
    agree_on_norm(Several(2.0, 2.0 + 1e-6), 2.0)
    agree_on_norm(Several(2.0), float("inf"))  # whoever watches for what is not finite says so
    with pytest.raises(DisagreementError, match="received 2 on rank 0, 3 on rank 1; they were not exchanged"):
        agree_on_norm(Several(3.0), 2.0)


class Other(nn.Linear):
    """The same shapes, another source."""


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ({"rows": ROWS[:6]}, "train_dataset: 7 rows"),
        ({"rows": ROWS[::-1]}, "train_dataset: 7 rows"),
        ({"seed": 1}, "the plan's loader"),
        ({"learning_rate": 1.0}, "the plan's optimizer"),
        ({"model": nn.Linear(2, 3)}, "the model's parameters"),
        ({"model": Other(2, 2)}, "the model's class"),
    ],
)
def test_differences_name_themselves_and_the_rank(theirs, named: str) -> None:
    with pytest.raises(DisagreementError, match="the processes of this run differ") as error:
        agree(Several(signed(), signed(**theirs)), signed())
    assert named in str(error.value)
    assert "on rank 2" in str(error.value)
    assert str(error.value).count("\n- ") == 1


def test_rows_that_are_drawn_when_read_are_not_read() -> None:
    class Drawn:
        def __len__(self):
            return 3

        def __getitem__(self, row):
            raise AssertionError("read")

    before = torch.get_rng_state()
    assert signed(rows=Drawn())["train_dataset"].startswith("3 rows")
    data = Dataset.from_list([{"a": 1}]).with_transform(lambda rows: {"a": [torch.rand(1)]})
    torch.set_rng_state(before)
    assert signed(rows=data) == signed(rows=data)


def test_a_stream_has_no_size() -> None:
    found = signed(rows=iter(ROWS), facts=replace(Facts(), has_train=True))
    assert found["train_dataset"].startswith("None rows")
