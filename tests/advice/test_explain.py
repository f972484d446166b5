from __future__ import annotations

from dataclasses import dataclass

import pytest

from lt_trainer.advice.explain import differences, explain, unused
from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts

FACTS = Facts(num_train_rows=100, has_eval=True, accelerator="cuda", num_visible_devices=2)


def test_the_table_shows_what_the_run_will_do() -> None:
    args = TrainingArguments(
        "out",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=3,
        num_train_epochs=2,
        warmup_ratio=0.1,
        bf16=True,
        eval_strategy="epoch",
    )
    text = explain(args, FACTS)
    rows = {line.strip().split("  ")[0]: line for line in text.splitlines()}
    assert "24 rows (4 a device x 2 device(s) x 3 accumulated)" in rows["effective batch"]
    assert "10 (2 epochs of 5)" in rows["steps"]  # 13 micro-batches a device, windows of 3
    assert "warm-up 1 steps" in rows["schedule"]
    assert "bf16-mixed" in rows["precision"]
    assert rows["strategy"].split() == ["strategy", "ddp", "Lightning"]
    assert rows["clipping"].split()[-1] == "lt_trainer"
    assert "each epoch" in rows["evaluate"]
    assert "max_steps=10" in text


def test_the_table_shows_what_differs_from_the_defaults() -> None:
    args = TrainingArguments("out", learning_rate=1e-3, eval_strategy="epoch", hub_token="secret")
    assert ("learning_rate", 1e-3, 5e-5) in differences(args)
    assert ("eval_strategy", "epoch", "no") in differences(args)
    assert "secret" not in explain(args, FACTS)
    assert not differences(TrainingArguments("elsewhere"))
    assert "nothing" in explain(TrainingArguments("elsewhere"), FACTS)


def test_arguments_of_the_users_own_class_are_explained() -> None:
    @dataclass(kw_only=True)
    class Mine(TrainingArguments):
        weight: float
        note: str = "none"

    args = Mine(output_dir="out", weight=2.0, seed=1)
    assert [(name, value) for name, value, _ in differences(args)] == [("seed", 1), ("weight", 2.0)]
    assert "1 (default 42)" in explain(args, FACTS)


def test_what_has_no_effect_is_told() -> None:
    args = TrainingArguments("out", hub_model_id="me/model", hub_strategy="end", fsdp_config={"min_num_params": 1})
    assert unused(args) == [
        "fsdp_config has no effect without fsdp=True",
        "hub_model_id has no effect without push_to_hub=True",
        "hub_strategy has no effect without push_to_hub=True",
    ]
    assert "hub_strategy has no effect without push_to_hub=True" in explain(args, FACTS)
    assert unused(TrainingArguments("out", hub_model_id="me/model", push_to_hub=True)) == []
    assert unused(TrainingArguments("out")) == []


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not supported; "):
        explain(TrainingArguments("out", use_liger_kernel=True), FACTS)
