"""`explain`: a plan as a table that people read before they start a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lt_trainer.args.plan import plan

if TYPE_CHECKING:
    from lt_trainer.args.cadence import Every
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.hardware import Facts
    from lt_trainer.args.plan import Plan

LIGHTNING, OURS = "Lightning", "lt_trainer"


def explain(args: TrainingArguments, facts: Facts) -> str:
    """What a run will do, who does it, and what differs from the defaults.

    Raises:
        ConfigurationError: the plan cannot be made.
    """
    decided = plan(args, facts)
    lines = _table([("what", "value", "done by"), *_rows(decided)])
    differs = [(name, repr(value), f"default {default!r}") for name, value, default in differences(args)]
    flags = ", ".join(f"{name}={value!r}" for name, value in decided.trainer_flags.items())
    lines += ["", "differs from the defaults:", *(_table(differs) or ["  nothing"])]
    return "\n".join([*lines, "", f"lightning.Trainer({flags})"])


def differences(args: TrainingArguments) -> list[tuple[str, Any, Any]]:
    """(name, value, default) of each argument that is not what it would be if only output_dir were given."""
    given, usual = args.to_dict(), type(args)(output_dir=args.output_dir).to_dict()
    return [(name, value, usual[name]) for name, value in given.items() if value != usual[name]]


def _rows(p: Plan) -> list[tuple[str, str, str]]:
    duration, hardware, loader, optimizer = p.duration, p.hardware, p.loader, p.optimizer
    factors = f"{loader.batch_size} a device x {hardware.world_size} device(s) x {loader.accumulation} accumulated"
    clip = f"gradient norm {optimizer.max_grad_norm:g}" if optimizer.max_grad_norm else "off"
    return [
        ("effective batch", f"{duration.effective_batch_size} rows ({factors})", OURS),
        ("steps", f"{duration.max_steps} ({duration.num_epochs:g} epochs of {duration.steps_per_epoch})", LIGHTNING),
        ("devices", f"{hardware.devices} {hardware.accelerator} on {hardware.num_nodes} machine(s)", LIGHTNING),
        ("strategy", hardware.strategy, LIGHTNING),
        ("precision", hardware.precision, LIGHTNING),
        ("optimizer", f"{optimizer.name}, decay {optimizer.weight_decay:g}", "torch"),
        (
            "schedule",
            f"{optimizer.scheduler} from {optimizer.learning_rate:g}, warm-up {duration.warmup_steps} steps",
            OURS,
        ),
        ("clipping", clip, OURS),
        ("log", _every(p.cadence.logging), OURS),
        ("evaluate", _every(p.cadence.evaluation), f"{LIGHTNING}, when {OURS} says"),
        ("save", _every(p.cadence.saving), OURS),
        ("report to", ", ".join(p.reporting.report_to) or "nothing", LIGHTNING),
    ]


def _every(every: Every) -> str:
    words = {"no": "never", "epoch": "each epoch", "best": "when the metric is the best so far"}
    return words.get(every.kind, f"every {every.steps} steps")


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else []
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
