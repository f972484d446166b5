from __future__ import annotations

import pytest

from lt_trainer.args.cadence import Every, plan_cadence
from lt_trainer.args.fields import TrainingArguments


def test_shares_become_steps_rounded_up() -> None:
    args = TrainingArguments("out", logging_steps=0.1, eval_strategy="steps", eval_steps=0.25, save_steps=0.5)
    found = plan_cadence(args, 13)
    assert (found.logging, found.evaluation, found.saving) == (Every("steps", 2), Every("steps", 4), Every("steps", 7))


def test_evaluation_falls_back_to_logging_steps() -> None:
    args = TrainingArguments("out", eval_strategy="steps", logging_steps=7)
    assert plan_cadence(args, 100).evaluation == Every("steps", 7)


def test_a_strategy_set_after_construction_counts() -> None:
    args = TrainingArguments("out")
    args.eval_strategy, args.logging_steps = "steps", 3
    assert plan_cadence(args, 100).evaluation == Every("steps", 3)


@pytest.mark.parametrize("kind", ["no", "epoch"])
def test_other_kinds(kind: str) -> None:
    args = TrainingArguments("out", logging_strategy=kind, eval_strategy=kind, save_strategy=kind)
    found = plan_cadence(args, 100)
    assert {found.logging.kind, found.evaluation.kind, found.saving.kind} == {kind}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.99, 1, 2, 500])
def test_steps_equal_those_of_transformers(share: float) -> None:
    state_of = pytest.importorskip("transformers").TrainerState
    args = TrainingArguments("out", logging_steps=share, eval_steps=share, save_steps=share, eval_strategy="steps")
    for max_steps in (1, 7, 39, 1000):
        theirs, ours = state_of(), plan_cadence(args, max_steps)
        theirs.compute_steps(args, max_steps)
        assert (ours.logging.steps, ours.evaluation.steps, ours.saving.steps) == (
            theirs.logging_steps,
            theirs.eval_steps,
            theirs.save_steps,
        )
