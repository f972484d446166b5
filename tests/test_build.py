"""From a facade's arguments to Lightning's flags, and to what a run does beside."""

from __future__ import annotations

import pytest

from lt_trainer import (
    TrainingArguments,
    build,
)
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan


def test_raw_flags_stand_beside_those_of_the_plan() -> None:
    assert build.merge_flags({"max_steps": 3}, {"profiler": "simple"}) == {"max_steps": 3, "profiler": "simple"}


def test_flags_that_the_arguments_decide_are_refused_all_at_once() -> None:
    planned = plan(TrainingArguments("x"), Facts(num_train_rows=8)).trainer_flags
    with pytest.raises(ValueError, match=r"\['max_epochs', 'precision'\].*'precision': 'bf16'"):
        build.merge_flags(planned, {"precision": "bf16", "profiler": None, "max_epochs": 1})


def test_merging_changes_neither_side() -> None:
    planned, given = {"max_steps": 3}, {"profiler": "simple"}
    build.merge_flags(planned, given)
    assert (planned, given) == ({"max_steps": 3}, {"profiler": "simple"})


def test_ddp_gets_what_was_asked_for_where_there_are_several_processes() -> None:
    asked = {
        "ddp_find_unused_parameters": True,
        "ddp_bucket_cap_mb": 5,
        "ddp_broadcast_buffers": False,
        "ddp_static_graph": True,
        "ddp_backend": "gloo",
        "ddp_timeout": 60,
    }
    several = plan(TrainingArguments("x", devices=2, **asked), Facts(num_train_rows=8))  # type: ignore[arg-type]
    strategy = build.with_strategy(several.trainer_flags, several, trains=True)["strategy"]
    assert strategy._ddp_kwargs == {
        "find_unused_parameters": True,
        "bucket_cap_mb": 5,
        "broadcast_buffers": False,
        "static_graph": True,
    }
    assert (strategy.process_group_backend, strategy._timeout.total_seconds()) == ("gloo", 60)
    for args in (TrainingArguments("x", devices=2), TrainingArguments("x", **asked)):  # type: ignore[arg-type]
        plain = plan(args, Facts(num_train_rows=8))
        assert build.with_strategy(plain.trainer_flags, plain, trains=True) == plain.trainer_flags
