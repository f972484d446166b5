from __future__ import annotations

import pytest

from lt_trainer.args.check import ConfigurationError, raise_if
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts, Hardware, plan_hardware

GPUS = Facts(accelerator="cuda", num_visible_devices=4)


def hardware(facts: Facts, **arguments: object) -> Hardware:
    found, problems = plan_hardware(TrainingArguments(**{"output_dir": "out", **arguments}), facts)  # type: ignore[arg-type]
    raise_if(problems)
    return found


def test_one_process_on_a_cpu() -> None:
    assert hardware(Facts()) == Hardware("cpu", 1, 1, "auto", "32-true")


def test_plain_python_takes_all_gpus_by_ddp() -> None:
    found = hardware(GPUS)
    assert (found.devices, found.strategy, found.world_size) == (4, "ddp", 4)


def test_one_gpu_needs_no_strategy() -> None:
    assert hardware(GPUS, devices=1) == Hardware("cuda", 1, 1, "auto", "32-true")


def test_use_cpu_ignores_gpus() -> None:
    assert hardware(GPUS, use_cpu=True) == Hardware("cpu", 1, 1, "auto", "32-true")


def test_several_processes_on_a_cpu() -> None:
    assert hardware(Facts(), devices=2) == Hardware("cpu", 2, 1, "ddp", "32-true")


def test_a_launcher_says_how_many() -> None:
    facts = Facts(launched=True, world_size=6, local_world_size=3, num_nodes=2)
    found = hardware(facts)
    assert (found.devices, found.num_nodes, found.world_size, found.strategy) == (3, 2, 6, "ddp")
    with pytest.raises(ConfigurationError, match="devices=2: the launcher started 3 processes"):
        hardware(facts, devices=2)


def test_more_devices_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="devices=5: this machine offers 4 of cuda"):
        hardware(GPUS, devices=5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "32-true"),
        ({"bf16": True}, "bf16-mixed"),
        ({"fp16": True}, "16-mixed"),
        ({"fp16": True, "fp16_opt_level": "O0"}, "32-true"),
        ({"fp16": True, "fp16_opt_level": "O2"}, "16-mixed"),
        ({"fp16": True, "fp16_opt_level": "O3"}, "16-true"),
    ],
)
def test_precision(arguments: dict[str, object], expected: str) -> None:
    assert hardware(GPUS, **arguments).precision == expected


def test_tf32_needs_an_nvidia_gpu() -> None:
    with pytest.raises(ConfigurationError, match="tf32=True: TF32 products need an NVIDIA GPU and this run is on cpu"):
        hardware(Facts(), tf32=True)
    assert hardware(GPUS, tf32=True).accelerator == "cuda"
    assert hardware(Facts(), tf32=False).accelerator == "cpu"


def test_fp16_on_a_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match="fp16=True: float16 training needs a GPU"):
        hardware(Facts(), fp16=True)
    assert hardware(Facts(), bf16=True).precision == "bf16-mixed"


def test_more_processes_than_gpus_is_refused() -> None:
    facts = Facts(accelerator="cuda", num_visible_devices=1, launched=True, world_size=2, local_world_size=2)
    with pytest.raises(ConfigurationError, match=r"started 2 processes on a machine with 1 GPU: .*nproc_per_node=1"):
        hardware(facts)
    assert hardware(facts, use_cpu=True).world_size == 2


def test_several_devices_need_a_command_that_can_run_again() -> None:
    facts = Facts(no_restart="this code comes from python -c")
    with pytest.raises(ConfigurationError, match=r"2 devices need a process each, .* comes from python -c"):
        hardware(facts, devices=2)
    assert hardware(facts).devices == 1


def test_accelerate_configures_the_precision_where_the_arguments_say_nothing() -> None:
    assert hardware(Facts(mixed_precision="bf16")).precision == "bf16-mixed"
    gpus = Facts(accelerator="cuda", mixed_precision="fp16")
    assert hardware(gpus).precision == "16-mixed"
    assert hardware(gpus, bf16=True).precision == "bf16-mixed"
    with pytest.raises(ConfigurationError, match="fp16 of `accelerate config`: float16 training needs a GPU"):
        hardware(Facts(mixed_precision="fp16"))
    with pytest.raises(ConfigurationError, match="fp8 of `accelerate config` is not supported"):
        hardware(Facts(mixed_precision="fp8"))


def test_memory_that_runs_out_is_met_by_one_process_alone() -> None:
    with pytest.raises(ConfigurationError, match="auto_find_batch_size=True with 2 processes"):
        hardware(Facts(), devices=2, auto_find_batch_size=True)
    with pytest.raises(ConfigurationError, match="auto_find_batch_size=True with deepspeed"):
        hardware(Facts(), deepspeed={"zero_optimization": {"stage": 1}}, auto_find_batch_size=True)
    assert hardware(Facts(), auto_find_batch_size=True).devices == 1
