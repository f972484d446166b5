"""A DeepSpeed configuration and the arguments: what "auto" becomes, and what contradicts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from lt_trainer.advice.explain import explain
from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import Seq2SeqTrainingArguments, TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan

FACTS = Facts(num_train_rows=100, world_size=2, local_world_size=2, launched=True)
CONFIG: dict[str, Any] = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "fp16": {"enabled": "auto", "loss_scale": 0},
    "bf16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto", "overlap_comm": False},
    "steps_per_print": 2000,
}


def planned(config: Any, **arguments: Any) -> Any:
    settings = {"output_dir": "out", "use_cpu": True, "gradient_accumulation_steps": 3, **arguments}
    return plan(TrainingArguments(deepspeed=config, **settings), FACTS)


def problems(config: Any, **arguments: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        planned(config, **arguments)
    return list(caught.value.problems)


def test_each_auto_is_what_the_arguments_say() -> None:
    found = planned(CONFIG, max_grad_norm=0.5, per_device_train_batch_size=4, weight_decay=0.01, bf16=True).deepspeed
    values = {name: (value, by) for name, value, by in found.rows}
    assert values["train_batch_size"] == (24, "rows of a step on all devices")
    assert values["train_micro_batch_size_per_gpu"] == (4, "per_device_train_batch_size")
    assert values["gradient_accumulation_steps"] == (3, "gradient_accumulation_steps")
    assert values["gradient_clipping"] == (0.5, "max_grad_norm")
    assert values["optimizer.params.lr"] == (5e-5, "learning_rate")
    assert values["optimizer.params.betas"] == ([0.9, 0.999], "adam_beta1 and adam_beta2")
    assert values["optimizer.params.weight_decay"] == (0.01, "weight_decay")
    assert values["fp16.enabled"] == (False, "fp16")
    assert values["bf16.enabled"] == (True, "bf16")
    assert values["zero_optimization.reduce_bucket_size"] == ("DeepSpeed's default", "DeepSpeed")
    assert values["steps_per_print"] == (2000, "the file")


def test_what_is_handed_on_holds_no_auto_and_nothing_that_is_done_here() -> None:
    before = copy.deepcopy(CONFIG)
    assert planned(CONFIG).deepspeed.config == {
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": 8,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2, "overlap_comm": False},
        "steps_per_print": 2000,
    }
    assert before == CONFIG


def test_entries_that_are_left_out_follow_the_arguments_too() -> None:
    config = planned({"zero_optimization": {"stage": 3}}, max_grad_norm=0.25).deepspeed.config
    assert (config["gradient_clipping"], config["train_micro_batch_size_per_gpu"]) == (0.25, 8)


def test_a_path_is_read_as_the_dict_would_be(tmp_path: Any) -> None:
    path = tmp_path / "ds_config.json"
    path.write_text(json.dumps(CONFIG))
    assert planned(str(path)) == planned(CONFIG)


def test_all_contradictions_come_in_one_message() -> None:
    config = {
        **CONFIG,
        "train_batch_size": 7,
        "gradient_clipping": 0.1,
        "bf16": {"enabled": True},
        "scheduler": {"type": "OneCycle"},
        "prescale_gradients": "auto",
    }
    found = problems(config, optim="adafactor", on_nan="ignore")
    text = "\n".join(found)
    for part in (
        "train_batch_size=7, and rows of a step on all devices is 48",
        "gradient_clipping=0.1, and max_grad_norm is 1.0",
        "bf16.enabled=True, and bf16 is False",
        "scheduler.type='OneCycle': expected one of WarmupLR",
        "prescale_gradients='auto': no argument decides",
        "optim='adafactor' with deepspeed",
        "on_nan='ignore' with deepspeed",
    ):
        assert part in text, part


@pytest.mark.parametrize("stage", [0, 4, None, "2"])
def test_stages_that_are_none_are_refused(stage: Any) -> None:
    [found] = problems({"zero_optimization": {"stage": stage}})
    assert f"zero_optimization.stage={stage!r}: expected 1, 2 or 3" in found


def test_generation_needs_whole_weights() -> None:
    args = Seq2SeqTrainingArguments("out", predict_with_generate=True, deepspeed={"zero_optimization": {"stage": 3}})
    with pytest.raises(ConfigurationError, match="predict_with_generate=True with deepspeed stage 3"):
        plan(args, FACTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found no such file"), ("{", "cannot be read"), ("[1]", "expected a JSON object, found \\[1\\]")],
)
def test_files_that_hold_no_configuration_are_named(tmp_path: Any, content: str | None, message: str) -> None:
    path = tmp_path / "ds.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        planned(str(path))


def test_a_near_miss_of_the_file_names_the_file(tmp_path: Any) -> None:
    (tmp_path / "ds_config.json").write_text("{}")
    assert "did you mean 'ds_config.json'?" in problems(str(tmp_path / "ds_conf.json"))[0]


def test_explain_prints_what_each_entry_became() -> None:
    text = explain(TrainingArguments("out", use_cpu=True, deepspeed=CONFIG), FACTS)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "strategy deepspeed Lightning" in lines
    assert "gradient_clipping 1.0 max_grad_norm" in lines
    assert "zero_optimization.stage 2 the file" in lines


def test_offloading_takes_the_optimizer_of_the_arguments() -> None:
    config = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
    assert planned(config).deepspeed.config["zero_force_ds_cpu_optimizer"] is False


def test_the_schedule_of_the_file_gets_the_numbers_of_the_arguments() -> None:
    params = {"warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto", "total_num_steps": "auto"}
    config = {**CONFIG, "scheduler": {"type": "WarmupDecayLR", "params": params}}
    found = planned(config, warmup_steps=3, max_steps=9, learning_rate=1e-3)
    assert found.optimizer.scheduler == "WarmupDecayLR"
    assert found.optimizer.scheduler_kwargs == {
        "warmup_min_lr": 0.0,
        "warmup_max_lr": 1e-3,
        "warmup_num_steps": 3,
        "total_num_steps": 9,
    }
    assert "scheduler" not in found.deepspeed.config
    assert "lr_scheduler_type='cosine'" in "".join(problems(config, lr_scheduler_type="cosine", max_steps=9))
