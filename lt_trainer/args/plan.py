"""`plan`: arguments and facts become a `Plan`, plain data from which engine.py makes Lightning's objects."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from lt_trainer.args.cadence import Cadence, plan_cadence
from lt_trainer.args.check import best_metric, raise_if
from lt_trainer.args.duration import Duration, plan_duration
from lt_trainer.args.hardware import Facts, Hardware, plan_hardware
from lt_trainer.sharding.deepspeed import DeepSpeed, plan_deepspeed
from lt_trainer.sharding.fsdp import Sharding, plan_fsdp

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments

# What can be written down and never runs here, and what to do instead.
REFUSED = {
    "accelerator_config": "leave it out; what it decides are arguments here, and rows are dealt out evenly",
    "average_tokens_across_devices": "leave it out; the loss is divided by the targets of all devices, always",
    "dataloader_in_order": "leave it out; rows come in the order that the seed says, so that a run can go on",
    "debug": "leave it out; a callback that wraps the run in torch.autograd.detect_anomaly finds the operation",
    "liger_kernel_config": "leave it out, as use_liger_kernel",
    "parallelism_config": "set fsdp or deepspeed",
    "save_on_each_node": "leave it out; the first machine saves, so give it an output_dir that all can read",
    "use_cache": "leave it out; a forward pass of training keeps no keys and values for later",
    "use_liger_kernel": "leave it out; native models compute no padding and no logits that nobody reads",
}
TIMEOUT = 1800  # seconds: torch's own
INSIDE_BACKWARD = ("lomo", "_layerwise")


@dataclass(frozen=True)
class Loader:
    """How rows become micro-batches: rows a device and micro-batch, micro-batches a step, the seed of the order."""

    batch_size: int
    eval_batch_size: int
    accumulation: int
    drop_last: bool
    num_workers: int
    pin_memory: bool
    persistent_workers: bool
    prefetch_factor: int | None
    seed: int
    multiprocessing_context: str | None = None
    order: str = "random"


@dataclass(frozen=True)
class Optimization:
    """Optimizer and schedule; `total_steps` and `warmup_steps` are optimizer steps, `max_grad_norm` 0 is off."""

    name: str
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    epsilon: float
    args: str | None
    scheduler: str
    scheduler_kwargs: dict[str, Any]
    warmup_steps: int
    total_steps: int
    max_grad_norm: float
    target_modules: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Saving:
    """What is kept of a run, and by which metric (its name begins with eval_) a model is the best."""

    total_limit: int | None
    only_model: bool
    load_best: bool
    metric_for_best: str | None
    greater_is_better: bool | None


@dataclass(frozen=True)
class Plan:
    """A run, decided: everything resolved to what it means on this machine with this data."""

    duration: Duration
    cadence: Cadence
    hardware: Hardware
    loader: Loader
    optimizer: Optimization
    saving: Saving
    report_to: tuple[str, ...]
    ddp: dict[str, Any]  # arguments of DDP and of its process group that were asked for
    trainer_flags: dict[str, Any]
    deepspeed: DeepSpeed | None = None
    sharding: Sharding | None = None  # how FSDP2 deals the model out


def plan(args: TrainingArguments, facts: Facts) -> Plan:
    """Decides a run. Pure: looks at nothing but its arguments.

    Raises:
        ConfigurationError: with every problem of the arguments, or of them on this machine with this data.
    """
    problems = [*args.problems(), *refusals(args)]
    if args.eval_strategy != "no" and facts.has_train and not facts.has_eval:
        problems.append(
            f"eval_strategy={str(args.eval_strategy)!r} without evaluation data: pass eval_dataset, or 'no'"
        )
    args = args.sound()
    sharding, of_fsdp = plan_fsdp(args)
    hardware, of_hardware = plan_hardware(args, facts, shards=sharding is not None)
    duration, of_duration = plan_duration(args, facts, hardware.world_size)
    deepspeed, of_deepspeed = plan_deepspeed(args, hardware, duration)
    raise_if([*problems, *of_fsdp, *of_hardware, *of_duration, *of_deepspeed])
    optimization = _optimization(args, duration)
    if deepspeed is not None and deepspeed.schedule is not None:
        kind, kwargs = deepspeed.schedule
        optimization = replace(optimization, scheduler=kind, scheduler_kwargs=kwargs)
    return Plan(
        duration=duration,
        cadence=plan_cadence(args, duration.max_steps),
        hardware=hardware,
        loader=_loader(args, hardware),
        optimizer=optimization,
        saving=_saving(args),
        report_to=tuple(args.report_to or ()),
        ddp=_ddp(args),
        trainer_flags={
            "max_steps": duration.max_steps,
            "max_epochs": duration.max_epochs,
            **vars(hardware),
            **FIXED_FLAGS,
        },
        deepspeed=deepspeed,
        sharding=sharding,
    )


def refusals(args: TrainingArguments) -> list[str]:
    """What the arguments ask for that does not exist, each with what to do instead."""
    found = [
        f"{name}={getattr(args, name)!r}: not supported; {hint}"
        for name, hint in REFUSED.items()
        if is_asked_for(args, name)
    ]
    if str(args.optim).endswith(INSIDE_BACKWARD):
        found.append(
            f"optim={str(args.optim)!r}: not supported: it updates weights inside the backward pass, before gradients "
            "are added up and clipped; use 'adafactor', or 'galore_adamw' or 'apollo_adamw' without layerwise"
        )
    if args.train_sampling_strategy == "batch_rebalance":
        found.append(
            "train_sampling_strategy='batch_rebalance': not supported: padding is not computed here, so micro-batches "
            "cost what their tokens do; use 'random' or 'group_by_length'"
        )
    return found


def is_asked_for(args: TrainingArguments, name: str) -> bool:
    """Whether an argument differs from its default; all ways to say "off" are one. False where it is no field."""
    default = next((f.default for f in fields(args) if f.name == name), None)
    value = getattr(args, name, None)
    return value != default if default and default is not MISSING else bool(value)


def _ddp(args: TrainingArguments) -> dict[str, Any]:
    asked = {
        "find_unused_parameters": args.ddp_find_unused_parameters,
        "bucket_cap_mb": args.ddp_bucket_cap_mb,
        "broadcast_buffers": args.ddp_broadcast_buffers,
        "static_graph": args.ddp_static_graph,
        "process_group_backend": args.ddp_backend,
        "timeout": args.ddp_timeout_delta if args.ddp_timeout != TIMEOUT else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _loader(args: TrainingArguments, hardware: Hardware) -> Loader:
    return Loader(
        batch_size=args.per_device_train_batch_size,
        eval_batch_size=args.per_device_eval_batch_size,
        accumulation=args.gradient_accumulation_steps,
        drop_last=args.dataloader_drop_last,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory and hardware.accelerator == "cuda",
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        seed=args.seed if args.data_seed is None else args.data_seed,
        order="group_by_length" if getattr(args, "sortish_sampler", False) else args.train_sampling_strategy,
    )


def _optimization(args: TrainingArguments, duration: Duration) -> Optimization:
    targets = args.optim_target_modules
    return Optimization(
        name=_optimizer_name(args),
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        betas=(args.adam_beta1, args.adam_beta2),
        epsilon=args.adam_epsilon,
        args=args.optim_args,
        target_modules=targets if targets is None or isinstance(targets, str) else tuple(targets),
        scheduler=str(args.lr_scheduler_type),
        scheduler_kwargs=dict(args.lr_scheduler_kwargs or {}),
        warmup_steps=duration.warmup_steps,
        total_steps=duration.max_steps,
        max_grad_norm=args.max_grad_norm or 0.0,
    )


def _optimizer_name(args: TrainingArguments) -> str:
    return {"adamw_hf": "adamw_torch", "adamw_apex_fused": "adamw_torch_fused"}.get(args.optim, str(args.optim))


def _saving(args: TrainingArguments) -> Saving:
    metric, greater = best_metric(args)
    if metric is not None and not metric.startswith("eval_"):
        metric = f"eval_{metric}"
    return Saving(args.save_total_limit, args.save_only_model, args.load_best_model_at_end, metric, greater)


# Flags of lightning.Trainer that no argument changes. What is off is ours: Lightning counts batches, we count steps.
FIXED_FLAGS: dict[str, Any] = {
    **{"accumulate_grad_batches": 1, "gradient_clip_val": None, "use_distributed_sampler": False},
    **{"val_check_interval": 10**9, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0},
    **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False},
}
