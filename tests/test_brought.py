"""Objects of Lightning among the raw flags: what passes through, and what is refused by name."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
import torch
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    ParallelStrategy,
    SingleDeviceStrategy,
)

from lt_trainer import ConfigurationError, Trainer, TrainingArguments, brought
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import plan
from lt_trainer.flags import Flags
from tests.faults import runs

QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}


@pytest.fixture(autouse=True)
def _no_group_stays():
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


class Odd(ParallelStrategy):
    """One that there is no driver for."""

    root_device = torch.device("cpu")
    barrier = broadcast = model_to_device = reduce = None


def make(folder, flags, **options) -> Trainer:
    torch.manual_seed(0)
    settings = {**QUIET, "max_steps": 3, "learning_rate": 0.1, "logging_steps": 1, "per_device_train_batch_size": 4}
    args = TrainingArguments(str(folder), **{**settings, **options})
    return Trainer(runs.Toy(), args, train_dataset=runs.rows(), eval_dataset=runs.rows(), lightning_flags=flags)


def hardware(flags, facts=None, **arguments):
    told = Facts(num_train_rows=8, **(facts or {}), flags=brought.read_flags(flags))
    return plan(TrainingArguments("out", **arguments), told).hardware


def test_raw_flags_stand_beside_those_of_the_plan() -> None:
    assert brought.merge_flags({"max_steps": 3}, {"profiler": "simple"}) == {"max_steps": 3, "profiler": "simple"}


def test_flags_that_the_arguments_decide_are_refused_all_at_once() -> None:
    planned = plan(TrainingArguments("x"), Facts(num_train_rows=8)).trainer_flags
    with pytest.raises(ValueError, match=r"\['devices', 'max_epochs'\].*'max_epochs': 1"):
        brought.merge_flags(planned, {"devices": 2, "profiler": None, "max_epochs": 1})


def test_merging_changes_neither_side() -> None:
    planned, given = {"max_steps": 3}, {"profiler": "simple"}
    brought.merge_flags(planned, given)
    assert (planned, given) == ({"max_steps": 3}, {"profiler": "simple"})


def test_objects_take_the_place_of_the_plans_names() -> None:
    strategy, plugin = DDPStrategy(), DoublePrecision()
    planned = {"strategy": "DDPStrategy", "precision": "64-true", "num_nodes": 1, "max_steps": 3}
    found = brought.merge_flags(planned, {"strategy": strategy, "plugins": plugin})
    copied = found.pop("strategy")
    assert vars(copied) == vars(strategy)
    assert copied is not strategy  # the same one may train, and evaluate later
    assert found == {"num_nodes": 1, "max_steps": 3, "plugins": plugin}
    assert brought.merge_flags(planned, {"precision": "64", "num_nodes": 1}) == planned


@pytest.mark.parametrize(
    ("flags", "name", "precision"),
    [
        ({}, "auto", "32-true"),
        ({"strategy": "auto"}, "auto", "32-true"),
        ({"strategy": "ddp", "precision": "bf16"}, "ddp", "bf16-mixed"),
        ({"precision": 64}, "auto", "64-true"),
        ({"strategy": DDPStrategy(static_graph=True)}, "DDPStrategy", "32-true"),
        ({"strategy": DDPStrategy(precision_plugin=DoublePrecision())}, "DDPStrategy", "64-true"),
        ({"plugins": [MixedPrecision("16-mixed", "cpu")]}, "auto", "16-mixed"),
    ],
)
def test_the_plan_knows_them_by_name(flags, name, precision) -> None:
    found = hardware(flags)
    assert (found.strategy, found.precision, found.world_size) == (name, precision, 1)


def test_machines_count_in_the_batch() -> None:
    found = plan(
        TrainingArguments("out", devices=2, per_device_train_batch_size=4),
        Facts(num_train_rows=100, flags=brought.read_flags({"num_nodes": 3})),
    )
    assert (found.hardware.num_nodes, found.duration.effective_batch_size) == (3, 24)
    launched = {"launched": True, "world_size": 4, "local_world_size": 2, "num_nodes": 2}
    assert hardware({"num_nodes": 2}, launched).world_size == 4
    with pytest.raises(ConfigurationError, match=r"num_nodes=3: the launcher started 2 machine\(s\); leave it out"):
        hardware({"num_nodes": 3}, launched)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"strategy": "fsdp"}, r"strategy='fsdp': does not run here; .*set fsdp='full_shard'"),
        ({"strategy": FSDPStrategy()}, r"strategy=FSDPStrategy\(\.\.\.\): .*first version; set fsdp"),
        ({"strategy": ModelParallelStrategy()}, r"ModelParallelStrategy\(\.\.\.\): .*set fsdp='full_shard'"),
        ({"strategy": "deepspeed_stage_2"}, r"'deepspeed_stage_2': .*set deepspeed= in the arguments"),
        ({"strategy": "ddp_spawn"}, r"'ddp_spawn': it starts processes by spawn, .*; set devices= alone"),
        ({"strategy": DDPStrategy(start_method="fork")}, r"DDPStrategy\(\.\.\.\): it starts processes by fork"),
        ({"strategy": Odd()}, r"strategy=Odd\(\.\.\.\): does not run here; leave it out, or bring a DDPStrategy"),
        ({"strategy": "dp"}, r"strategy='dp': expected 'auto' or one of \[.*'ddp'.*did you mean 'ddp'"),
        ({"strategy": 3}, r"strategy=int\(\.\.\.\): expected a name or an object"),
        ({"precision": DoublePrecision()}, r"precision=DoublePrecision: .*pass the object as plugins=\[...\]"),
        ({"precision": "64", "plugins": DoublePrecision()}, r"precision='64' beside DoublePrecision: expected one"),
        ({"num_nodes": 0}, r"num_nodes=0: expected the number of machines, 1 or more"),
        ({"precision": "16-mixed"}, r"precision='16-mixed': float16 training needs a GPU"),
    ],
)
def test_what_cannot_run_is_refused_by_name(flags, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        hardware(flags)


def test_the_strategy_of_deepspeed_is_refused_where_it_is_installed(monkeypatch) -> None:
    strategy = object.__new__(DeepSpeedStrategy)
    strategy._precision_plugin, strategy._start_method = None, "popen"
    with pytest.raises(ConfigurationError, match=r"DeepSpeedStrategy\(\.\.\.\): does not run here; set deepspeed="):
        hardware({"strategy": strategy})


@pytest.mark.parametrize(
    ("flags", "arguments", "says"),
    [
        (
            {"strategy": "ddp"},
            {"deepspeed": {"zero_optimization": {}}},
            r"deepspeed beside strategy='ddp'",
        ),
        ({"strategy": DDPStrategy()}, {"fsdp": "full_shard"}, r"fsdp beside strategy='DDPStrategy'"),
        ({"strategy": DDPStrategy()}, {"ddp_bucket_cap_mb": 5}, r"\['ddp_bucket_cap_mb'\] beside .*into the strategy"),
        ({"precision": "64"}, {"bf16": True}, r"bf16=True beside precision '64-true' of lightning_flags"),
        ({"precision": "bf16"}, {"fsdp": "full_shard"}, r"precision 'bf16-mixed' of lightning_flags with fsdp"),
    ],
)
def test_what_arguments_say_too_is_refused(flags, arguments, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        hardware(flags, **arguments)


def test_problems_come_with_those_of_the_arguments() -> None:
    flags = {"strategy": "fsdp", "num_nodes": 0}
    with pytest.raises(ConfigurationError) as caught:
        hardware(flags, {"accelerator": "cuda", "num_visible_devices": 1}, devices=3)
    assert len(caught.value.problems) == 3


def test_another_number_of_processes_than_planned_is_refused(tmp_path) -> None:
    cpus = [torch.device("cpu")] * 2
    with pytest.raises(ConfigurationError, match=r"'DDPStrategy' runs 2 process.*, 1 were asked for: .*leave strategy"):
        make(tmp_path, {"strategy": DDPStrategy(parallel_devices=cpus)}).train()


@pytest.mark.parametrize(
    "strategy",
    [SingleDeviceStrategy("cpu"), DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60)), "ddp"],
    ids=["single", "ddp", "name"],
)
def test_a_strategy_of_the_callers_trains_and_evaluates_as_none_does(tmp_path, strategy) -> None:
    found = []
    for name, flags in (("plain", {}), ("given", {"strategy": strategy})):
        trainer = make(tmp_path / name, flags)
        trainer.train()
        found.append((runs.losses(trainer), trainer.evaluate()["eval_loss"], runs.weights(trainer)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-6)
    assert found[1][2] == pytest.approx(found[0][2], rel=1e-5)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed", 64])
def test_precisions_without_an_argument_train(tmp_path, precision) -> None:
    trainer = make(tmp_path, {"precision": precision})
    trainer.train()
    wanted = {"64-true": torch.float64, 64: torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert trainer.model.linear.weight.dtype == wanted
    assert torch.tensor(runs.losses(trainer)).isfinite().all()


def test_nothing_given_decides_nothing() -> None:
    assert brought.read_flags({"profiler": "simple"}) == Flags()
