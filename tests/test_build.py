"""From a facade's arguments to Lightning's flags, and to what a run does beside."""

from __future__ import annotations

from lt_trainer import (
    TrainingArguments,
    build,
)
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan


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
