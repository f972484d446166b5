from __future__ import annotations

import dataclasses

import pytest

from lt_trainer.advice.doctor import TRIAL, Finding, examine, report, summary
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import Plan, plan

ROWS = 8000  # 1,000 steps an epoch
GPU = Facts(num_train_rows=ROWS, has_eval=True, accelerator="cuda")
SOUND = {
    **{"output_dir": "out", "learning_rate": 2e-5, "warmup_steps": 0.1, "bf16": True},
    **{"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 2, "load_best_model_at_end": True},
}


def planned(facts: Facts = GPU, **arguments: object) -> Plan:
    return plan(TrainingArguments(**(SOUND | arguments)), facts)  # type: ignore[arg-type]


def test_a_sound_configuration_is_left_in_peace() -> None:
    found = examine(planned())
    assert found == []
    assert report(found) == "nothing to advise"
    assert summary(planned(), found) is None


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        ({"learning_rate": 1e-2}, "learning_rate=0.01 is above 1e-06 to 0.0001", "learning_rate=2e-5"),
        ({"learning_rate": 1e-8}, "learning_rate=1e-08 is below", "learning_rate=2e-5"),
        ({"warmup_steps": 0}, "no warm-up", "warmup_steps=0.1"),
        ({"lr_scheduler_type": "constant"}, "no warm-up", "lr_scheduler_type='constant_with_warmup'"),
        ({"eval_strategy": "no", "load_best_model_at_end": False}, "no evaluation", "eval_strategy='epoch'"),
        ({"load_best_model_at_end": False}, "the best model is not kept", "save_strategy both 'epoch'"),
        ({"save_total_limit": None, "num_train_epochs": 5}, "all 5 checkpoints are kept", "save_total_limit=2"),
        ({"bf16": False}, "full precision on a GPU", "bf16=True"),
    ],
)
def test_each_finding_says_what_why_and_the_argument_to_set(
    arguments: dict[str, object], what: str, remedy: str
) -> None:
    found = [f for f in examine(planned(**arguments)) if what in f.what]
    assert len(found) == 1
    assert remedy in found[0].remedy
    assert found[0].why


def test_what_is_set_as_advised_is_found_no_more() -> None:
    bad = {"learning_rate": 1.0, "warmup_steps": 0, "eval_strategy": "no", "save_total_limit": None, "bf16": False}
    found = examine(planned(**bad, load_best_model_at_end=False, save_strategy="steps"))
    assert len(found) == 6
    assert [f.grave for f in found] == [True, False, False, False, False, False]


@pytest.mark.parametrize(
    "arguments",
    [
        {"optim": "sgd", "learning_rate": 0.1},  # no rate of AdamW
        {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 0},  # takes none
        {"save_total_limit": None, "num_train_epochs": 3},  # three checkpoints
        {"save_strategy": "best", "load_best_model_at_end": False},
        {"fp16": True, "bf16": False},
    ],
)
def test_what_is_right_where_it_stands_is_no_finding(arguments: dict[str, object]) -> None:
    assert examine(planned(**arguments)) == []


def test_full_precision_is_right_on_a_cpu() -> None:
    assert examine(planned(dataclasses.replace(GPU, accelerator="cpu"), bf16=False)) == []


def test_a_rate_has_no_range_from_scratch_and_a_higher_one_for_t5() -> None:
    high = planned(learning_rate=5e-4)
    assert len(examine(high)) == 1
    assert examine(high, pretrained=False) == []
    assert examine(high, encoder_decoder=True) == []
    assert "learning_rate=1e-4" in examine(planned(learning_rate=5e-3), encoder_decoder=True)[0].remedy


def test_the_start_of_a_run_is_told_one_line_that_names_the_command() -> None:
    decided = planned(learning_rate=1e-2, warmup_steps=0)
    line = summary(decided, examine(decided))
    assert line is not None
    assert "\n" not in line
    assert "above 1e-06 to 0.0001, the range for fine-tuning; no warm-up (`lt-trainer doctor" in line


@pytest.mark.parametrize(("steps", "told"), [(TRIAL - 1, False), (TRIAL, True)])
def test_a_trial_is_told_only_what_spoils_it(steps: int, told: bool) -> None:
    decided = planned(max_steps=steps, warmup_steps=0)
    assert (summary(decided, examine(decided)) is not None) is told
    grave = planned(max_steps=steps, learning_rate=1.0)
    assert summary(grave, examine(grave)) is not None


def test_a_report_has_three_lines_a_finding() -> None:
    found = [Finding("no warm-up", "the first steps are rough", "warmup_steps=0.1")] * 2
    assert report(found).splitlines()[:3] == [
        "- no warm-up",
        "    why  the first steps are rough",
        "    set  warmup_steps=0.1",
    ]
    assert len(report(found).splitlines()) == 6
