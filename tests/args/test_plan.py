from __future__ import annotations

import dataclasses

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import Seq2SeqTrainingArguments, TrainingArguments
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import REFUSED, Plan, plan, refusals
from lt_trainer.names import SCHEDULERS, WATCHERS

FACTS = Facts(num_train_rows=100, has_eval=True)
OTHERS = {  # values that differ from the default where "True" or one more does not
    "accelerator_config": {"split_batches": True},
    "debug": ["underflow_overflow"],
    "generation_config": "a-folder",
    "include_for_metrics": ["inputs"],
    "include_num_input_tokens_seen": "all",
    "length_column_name": "size",
    "liger_kernel_config": {"rope": True},
    "parallelism_config": {"tp_size": 2},
    "trackio_bucket_id": "me/bucket",
    "trackio_static_space_id": "me/static",
    "train_sampling_strategy": "group_by_length",
}


def other(name: str) -> object:
    """A value that an argument does not have by default."""
    field = next(f for f in dataclasses.fields(Seq2SeqTrainingArguments) if f.name == name)
    number = {"int", "float"} & set(str(field.type).split(" | "))
    return OTHERS.get(name, (field.default or 0) + 2 if number else not field.default)


def planned(**arguments: object) -> Plan:
    return plan(TrainingArguments(**{"output_dir": "out", **arguments}), FACTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*REFUSED])
def test_what_is_not_there_is_refused_by_name(name: str) -> None:
    args = Seq2SeqTrainingArguments(**{"output_dir": "out", name: other(name)})
    with pytest.raises(ConfigurationError) as caught:
        plan(args, FACTS)
    value = getattr(args, name)
    expected = f"{name}={value!r}: not supported; "
    assert [problem for problem in caught.value.problems if problem.startswith(expected)]


@pytest.mark.parametrize("cls", [TrainingArguments, Seq2SeqTrainingArguments])
def test_nothing_is_refused_where_nothing_was_asked_for(cls: type[TrainingArguments]) -> None:
    assert refusals(cls("out")) == []


@pytest.mark.parametrize("empty", [{"fsdp": ""}, {"deepspeed": {}}, {"torch_compile": False}, {"fsdp": False}])
def test_what_is_off_is_not_refused(empty: dict[str, object]) -> None:
    planned(**empty)


@pytest.mark.parametrize("name", WATCHERS)
def test_schedules_that_follow_the_evaluation_need_one(name: str) -> None:
    planned(lr_scheduler_type=name, eval_strategy="epoch")
    with pytest.raises(ConfigurationError, match=f"lr_scheduler_type='{name}' with eval_strategy='no'"):
        planned(lr_scheduler_type=name)


def test_all_refusals_come_at_once_with_what_is_wrong() -> None:
    args = TrainingArguments("out", use_liger_kernel=True, save_on_each_node=True)
    args.learning_rate, args.max_steps = -1.0, "2"  # type: ignore[assignment]
    with pytest.raises(ConfigurationError) as caught:
        plan(args, FACTS)
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "max_steps",
        "learning_rate",
        "save_on_each_node",
        "use_liger_kernel",
    ]


def test_a_bucket_and_a_copy_of_no_space_are_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrainingArguments("out", trackio_bucket_id="b", trackio_static_space_id="s")
    assert list(caught.value.problems) == [
        f"trackio_{n}_id: set trackio_space_id, its space" for n in ("bucket", "static_space")
    ]


def test_what_is_wrong_with_values_devices_length_and_deepspeed_comes_in_one_error() -> None:
    args = TrainingArguments(
        "out", tf32=True, save_on_each_node=True, deepspeed={"zero_optimization": {"stage": 7}, "gradient_clipping": 9}
    )
    args.learning_rate = -1.0
    with pytest.raises(ConfigurationError) as caught:
        plan(args, Facts(num_train_rows=0))
    told = [
        "learning_rate=-1.0: expected 0 or more",
        "save_on_each_node=True: not supported",
        "tf32=True: TF32 products need an NVIDIA GPU",
        "the training data set is empty",
        "deepspeed: zero_optimization.stage=7",
        "deepspeed: gradient_clipping=9, and max_grad_norm is 1.0",
    ]
    assert [problem[: len(text)] for problem, text in zip(caught.value.problems, told, strict=True)] == told


def test_fsdp_is_told_with_the_rest() -> None:
    args = TrainingArguments("out", fsdp="hybrid_shard", auto_find_batch_size=True, deepspeed="no.json")
    with pytest.raises(ConfigurationError) as caught:
        plan(args, Facts())
    text = str(caught.value)
    for part in ("fsdp='hybrid_shard'", "fsdp and deepspeed", "auto_find_batch_size", "max_steps=-1", "no.json"):
        assert text.count(part) == 1, part


def test_values_changed_after_construction_count() -> None:
    args = TrainingArguments("out")
    args.max_steps, args.use_cpu, args.learning_rate = 2, True, 1e-3
    found = plan(args, FACTS)
    assert (found.duration.max_steps, found.optimizer.learning_rate) == (2, 1e-3)


def test_planning_changes_nothing() -> None:
    args = TrainingArguments("out", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True)
    before = args.to_dict()
    assert plan(args, FACTS) == plan(args, FACTS)
    assert args.to_dict() == before


def test_evaluation_needs_data() -> None:
    with pytest.raises(ConfigurationError, match="eval_strategy='epoch' without evaluation data"):
        plan(TrainingArguments("out", eval_strategy="epoch"), Facts(num_train_rows=100))


def test_loader() -> None:
    found = planned(
        per_device_train_batch_size=4, gradient_accumulation_steps=2, seed=1, dataloader_num_workers=2
    ).loader
    assert (found.batch_size, found.eval_batch_size, found.accumulation, found.num_workers) == (4, 8, 2, 2)
    assert (found.seed, found.pin_memory) == (1, False)
    assert planned(seed=1, data_seed=0).loader.seed == 0
    gpu = dataclasses.replace(FACTS, accelerator="cuda")
    assert plan(TrainingArguments("out"), gpu).loader.pin_memory
    assert not plan(TrainingArguments("out", dataloader_pin_memory=False), gpu).loader.pin_memory


def test_optimizer() -> None:
    found = planned(
        learning_rate=1e-3, adam_beta1=0.8, weight_decay=0.1, warmup_ratio=0.1, max_grad_norm=None
    ).optimizer
    assert (found.name, found.learning_rate, found.betas) == ("adamw_torch_fused", 1e-3, (0.8, 0.999))
    assert (found.weight_decay, found.warmup_steps, found.total_steps, found.max_grad_norm) == (0.1, 4, 39, 0.0)


@pytest.mark.parametrize(
    ("arguments", "metric", "greater"),
    [
        ({}, None, None),
        ({"metric_for_best_model": "f1"}, "eval_f1", True),
        ({"metric_for_best_model": "eval_loss"}, "eval_loss", False),
        ({"metric_for_best_model": "error", "greater_is_better": False}, "eval_error", False),
        ({"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}, "eval_loss", False),
        ({"eval_strategy": "epoch", "save_strategy": "best"}, "eval_loss", False),
    ],
)
def test_best_model(arguments: dict[str, object], metric: str | None, greater: bool | None) -> None:
    found = planned(**arguments).saving
    assert (found.metric_for_best, found.greater_is_better) == (metric, greater)


def test_best_model_asked_for_after_construction() -> None:
    args = TrainingArguments("out", eval_strategy="epoch", save_strategy="epoch")
    args.load_best_model_at_end = True
    found = plan(args, FACTS).saving
    assert (found.load_best, found.metric_for_best, found.greater_is_better) == (True, "eval_loss", False)


def test_loggers() -> None:
    assert planned().report_to == ("tensorboard",)
    assert planned(report_to="none").report_to == ()


def test_trainer_flags_are_lightnings() -> None:
    pl = pytest.importorskip("lightning.pytorch")
    import inspect

    flags = planned(max_steps=3, use_cpu=True).trainer_flags
    assert set(flags) <= set(inspect.signature(pl.Trainer).parameters)
    assert (flags["max_steps"], flags["accelerator"], flags["accumulate_grad_batches"]) == (3, "cpu", 1)


def test_every_name_has_a_schedule() -> None:
    optim = pytest.importorskip("lt_trainer.optim")
    assert set(SCHEDULERS) - set(WATCHERS) == set(optim.SCHEDULES)


@pytest.mark.parametrize("options", [{"fp16": True}, {"bf16": True}])
def test_mixed_precision_keeps_the_fused_optimizer(options: dict[str, bool]) -> None:
    facts = Facts(num_train_rows=8, accelerator="cuda")
    assert plan(TrainingArguments(output_dir="out", **options), facts).optimizer.name == "adamw_torch_fused"
