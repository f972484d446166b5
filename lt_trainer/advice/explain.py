"""`explain`: a plan as a table that people read before they start a run."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lt_trainer.args.plan import plan

if TYPE_CHECKING:
    from lt_trainer.args.cadence import Every
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.hardware import Facts
    from lt_trainer.args.plan import Plan

LIGHTNING, OURS = "Lightning", "lt_trainer"
# Where arguments go; those that are not listed stay with the trainer, the module or the bridge.
GOES = {
    "Lightning, max_steps and max_epochs": ("num_train_epochs", "max_steps"),
    "Lightning, precision": ("bf16", "fp16", "fp16_opt_level"),
    "Lightning, accelerator and devices": ("use_cpu", "devices"),
    "Lightning, DDPStrategy": (
        *("ddp_backend", "ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters"),
        *("ddp_static_graph", "ddp_timeout"),
    ),
    "Lightning, FSDP": ("fsdp", "fsdp_config"),
    "Lightning, DeepSpeed": ("deepspeed",),
    "torch, the optimizer": (
        *("adam_beta1", "adam_beta2", "adam_epsilon", "learning_rate", "optim", "optim_args", "optim_target_modules"),
        "weight_decay",
    ),
    "torch, matrix products": ("tf32",),
    "torch.compile": ("torch_compile", "torch_compile_backend", "torch_compile_mode"),
    "torch, DataLoader": (
        *("dataloader_multiprocessing_context", "dataloader_num_workers", "dataloader_persistent_workers"),
        *("dataloader_pin_memory", "dataloader_prefetch_factor"),
    ),
    "windows of rows": (
        *("data_seed", "dataloader_drop_last", "gradient_accumulation_steps", "length_column_name"),
        *("per_device_eval_batch_size", "per_device_train_batch_size", "train_sampling_strategy"),
    ),
    "the schedule": ("lr_scheduler_kwargs", "lr_scheduler_type", "warmup_ratio", "warmup_steps"),
    "checkpoints": (
        *("load_best_model_at_end", "output_dir", "save_only_model", "save_steps", "save_strategy", "save_total_limit"),
        *("resume_from_checkpoint", "metric_for_best_model", "greater_is_better"),
    ),
    "loggers": (
        *("logging_dir", "project", "report_to", "run_name", "trackio_bucket_id", "trackio_space_id"),
        "trackio_static_space_id",
    ),
    "the hub": (
        *("hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token"),
        "push_to_hub",
    ),
    "generation": (*("generation_config", "generation_max_length", "generation_num_beams", "predict_with_generate"),),
    "scripts": ("do_eval", "do_predict", "do_train", "local_rank", "overwrite_output_dir"),
}


# Arguments that do nothing while another one is off.
NEEDS = {
    "fsdp_config": "fsdp",
    "gradient_checkpointing_kwargs": "gradient_checkpointing",
    "hub_always_push": "push_to_hub",
    "hub_model_id": "push_to_hub",
    "hub_private_repo": "push_to_hub",
    "hub_revision": "push_to_hub",
    "hub_strategy": "push_to_hub",
}


def explain(args: TrainingArguments, facts: Facts) -> str:
    """What a run will do, who does it, and what differs from the defaults.

    Raises:
        ConfigurationError: the plan cannot be made.
    """
    decided = plan(args, facts)
    lines = _table([("what", "value", "done by"), *_rows(decided)])
    differs = [
        (name, f"{value!r} (default {default!r})", f"-> {goes_to(name)}") for name, value, default in differences(args)
    ]
    flags = ", ".join(f"{name}={value!r}" for name, value in decided.trainer_flags.items())
    lines += ["", "differs from the defaults, and who takes it:", *(_table(differs) or ["  nothing"])]
    lines += [f"  {note}" for note in unused(args)]
    return "\n".join([*lines, "", f"lightning.Trainer({flags})"])


def goes_to(name: str) -> str:
    """Who makes use of an argument."""
    return next((owner for owner, names in GOES.items() if name in names), OURS)


def unused(args: TrainingArguments) -> list[str]:
    """What was asked for and does nothing, with what it needs."""
    given = {name for name, _, _ in differences(args)}
    return [
        f"{name} has no effect without {needed}=True"
        for name, needed in NEEDS.items()
        if name in given and not getattr(args, needed)
    ]


def differences(args: TrainingArguments) -> list[tuple[str, Any, Any]]:
    """(name, value, default) of each argument that is not what it would be if only output_dir were given."""
    given = args.to_dict()
    ours = next(cls for cls in type(args).__mro__ if cls.__module__.startswith("lt_trainer."))  # a user's may need more
    usual = {f.name: f.default for f in fields(args)} | ours(output_dir=args.output_dir).to_dict()
    return [(name, value, usual[name]) for name, value in given.items() if value != usual[name]]


def _rows(p: Plan) -> list[tuple[str, str, str]]:
    duration, hardware, loader, optimizer = p.duration, p.hardware, p.loader, p.optimizer
    factors = f"{loader.batch_size} a device x {hardware.world_size} device(s) x {loader.accumulation} accumulated"
    clip = f"gradient norm {optimizer.max_grad_norm:g}" if optimizer.max_grad_norm else "off"
    workers = f"{loader.num_workers} worker(s)" if loader.num_workers else "the main process"
    saving = p.saving
    return [
        ("effective batch", f"{duration.effective_batch_size} rows ({factors})", OURS),
        ("evaluation batch", f"{loader.eval_batch_size} rows a device", OURS),
        ("steps", f"{duration.max_steps} ({duration.num_epochs:g} epochs of {duration.steps_per_epoch})", LIGHTNING),
        ("devices", f"{hardware.devices} {hardware.accelerator} on {hardware.num_nodes} machine(s)", LIGHTNING),
        ("strategy", ", ".join([hardware.strategy, *(f"{k}={v}" for k, v in p.ddp.items())]), LIGHTNING),
        *((f"  {name}", str(value), by) for name, value, by in (p.deepspeed.rows if p.deepspeed else ())),
        ("precision", hardware.precision, LIGHTNING),
        ("optimizer", f"{optimizer.name}, decay {optimizer.weight_decay:g}", "torch"),
        (
            "schedule",
            f"{optimizer.scheduler} from {optimizer.learning_rate:g}, warm-up {duration.warmup_steps} steps",
            OURS,
        ),
        ("clipping", clip, OURS),
        ("rows", f"order of seed {loader.seed}, read by {workers}", OURS),
        ("log", _every(p.cadence.logging), OURS),
        ("evaluate", _every(p.cadence.evaluation), f"{LIGHTNING}, when {OURS} says"),
        ("save", _every(p.cadence.saving), OURS),
        ("best model", _best(saving.metric_for_best, saving.greater_is_better), OURS),
        ("report to", ", ".join(p.report_to) or "nothing", LIGHTNING),
    ]


def _best(metric: str | None, greater: bool | None) -> str:
    return f"by {metric}, {'more' if greater else 'less'} is better" if metric else "not looked for"


def _every(every: Every) -> str:
    words = {"no": "never", "epoch": "each epoch", "best": "when the metric is the best so far"}
    return words.get(every.kind, f"every {every.steps} steps")


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else []
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
