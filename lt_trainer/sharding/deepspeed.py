"""A DeepSpeed configuration, decided: each "auto" gets its value; what contradicts the arguments is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import near
from lt_trainer.sharding.common import optimizer_problems, read_settings

if TYPE_CHECKING:
    from lt_trainer.args.duration import Duration
    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.hardware import Hardware

STAGES = (1, 2, 3)
# What "auto" means where no argument decides: DeepSpeed's own default, so the entry is left out.
OWN_DEFAULTS = (
    "zero_optimization.reduce_bucket_size",
    "zero_optimization.stage3_prefetch_bucket_size",
    "zero_optimization.stage3_param_persistence_threshold",
)
SCHEDULES = {  # by DeepSpeed's names, with what each takes
    "WarmupLR": ("warmup_min_lr", "warmup_max_lr", "warmup_num_steps", "warmup_type"),
    "WarmupDecayLR": ("warmup_min_lr", "warmup_max_lr", "warmup_num_steps", "warmup_type", "total_num_steps"),
    "WarmupCosineLR": ("warmup_min_ratio", "warmup_num_steps", "warmup_type", "total_num_steps", "cos_min_ratio"),
}
# Sections that are carried out here, or by Lightning, and are not handed on.
OURS = ("train_batch_size", "gradient_accumulation_steps", "optimizer", "scheduler")
_REFUSED = {
    "amp": "leave it out; set bf16=True or fp16=True",
    "pipeline": "leave it out; models are not cut into stages here",
    "autotuning": "leave it out; batch sizes are arguments",
    "zenflow": "leave it out",
    "data_types": "leave it out; gradients are added up as the precision says",
}


@dataclass(frozen=True)
class DeepSpeed:
    """A configuration, decided.

    Attributes:
        config: what Lightning hands to DeepSpeed.
        rows: each entry of the file as (name with dots, value, who decided), for people.
    """

    config: dict[str, Any]
    rows: tuple[tuple[str, Any, str], ...]

    @property
    def schedule(self) -> tuple[str, dict[str, Any]] | None:
        """The schedule that the file names, with its numbers; None: the arguments decide."""
        found = {name.removeprefix("scheduler."): v for name, v, _ in self.rows if name.startswith("scheduler.")}
        kind = found.pop("type", None)
        return None if kind is None else (kind, {name.removeprefix("params."): v for name, v in found.items()})

    @property
    def stage(self) -> int:
        """Of ZeRO: 1 shards the optimizer's state, 2 the gradients too, 3 the weights too."""
        return int(self.config["zero_optimization"]["stage"])


def plan_deepspeed(
    args: TrainingArguments, hardware: Hardware, duration: Duration
) -> tuple[DeepSpeed | None, list[str]]:
    """The configuration of `args.deepspeed`, None where there is none, and all that is wrong with it.

    That is: it cannot be read, contradicts the arguments, or asks for what is not there.
    """
    if not args.deepspeed:
        return None, []
    given, problems = read_settings("deepspeed", args.deepspeed)
    decided, entries = _decisions(args, hardware, duration), _flat(given)
    if not problems:
        problems = [*_refusals(args, given), *_unknown_autos(entries, decided), *_contradictions(entries, decided)]
    if problems:
        return None, problems
    rows = [(name, *_decided(name, value, decided)) for name, value in entries.items()]
    rows += [
        (name, value, by)
        for name, (value, by) in decided.items()
        if name in ("gradient_clipping", "train_micro_batch_size_per_gpu") and name not in entries
    ]
    return DeepSpeed(_config(rows), tuple(rows)), []


def _decisions(args: TrainingArguments, hardware: Hardware, duration: Duration) -> dict[str, tuple[Any, str]]:
    """What the arguments say of entries: name with dots -> (value, argument). None: they cannot, without steps."""
    steps = duration.max_steps or None
    return {
        "train_batch_size": (duration.effective_batch_size, "rows of a step on all devices"),
        "train_micro_batch_size_per_gpu": (args.per_device_train_batch_size, "per_device_train_batch_size"),
        "gradient_accumulation_steps": (args.gradient_accumulation_steps, "gradient_accumulation_steps"),
        "gradient_clipping": (float(args.max_grad_norm or 0.0), "max_grad_norm"),
        "fp16.enabled": (hardware.precision.startswith("16"), "fp16"),
        "bf16.enabled": (hardware.precision.startswith("bf16"), "bf16"),
        "scheduler.params.warmup_min_lr": (0.0, "DeepSpeed's default"),
        "scheduler.params.warmup_max_lr": (args.learning_rate, "learning_rate"),
        "scheduler.params.warmup_num_steps": (steps and max(1, duration.warmup_steps), "warmup_steps"),
        "scheduler.params.total_num_steps": (steps, "the steps of the run"),
        "optimizer.params.lr": (args.learning_rate, "learning_rate"),
        "optimizer.params.betas": ([args.adam_beta1, args.adam_beta2], "adam_beta1 and adam_beta2"),
        "optimizer.params.eps": (args.adam_epsilon, "adam_epsilon"),
        "optimizer.params.weight_decay": (args.weight_decay, "weight_decay"),
    }


def _refusals(args: TrainingArguments, given: dict[str, Any]) -> list[str]:
    zero = given.get("zero_optimization")
    stage = zero.get("stage") if isinstance(zero, dict) else None
    problems = [f"deepspeed: {name!r}: not supported; {hint}" for name, hint in _REFUSED.items() if given.get(name)]
    if stage not in STAGES:
        problems.append(
            f"deepspeed: zero_optimization.stage={stage!r}: expected 1, 2 or 3; for 0 leave deepspeed out, which is DDP"
        )
    kind = (given.get("optimizer") or {}).get("type", "AdamW")
    if kind not in ("Adam", "AdamW") or (given.get("optimizer") and not str(args.optim).startswith("adamw")):
        problems.append(
            f"deepspeed: optimizer.type={kind!r} with optim={str(args.optim)!r}: expected AdamW in both; leave the "
            "section 'optimizer' out, and the arguments decide"
        )
    problems += optimizer_problems(args, "deepspeed")
    problems += _schedule_problems(args, given.get("scheduler") or {})
    if args.on_nan == "ignore":
        problems.append("on_nan='ignore' with deepspeed: it leaves such steps out by itself; use 'stop' or 'skip'")
    if stage == 3 and getattr(args, "predict_with_generate", False):
        problems.append("predict_with_generate=True with deepspeed stage 3: not supported yet; use stage 2")
    return problems


def _schedule_problems(args: TrainingArguments, section: dict[str, Any]) -> list[str]:
    if not section:
        return []
    kind, params = section.get("type"), section.get("params") or {}
    if kind not in SCHEDULES:
        known = f"expected one of {', '.join(SCHEDULES)}{near(kind, SCHEDULES)}"
        return [f"deepspeed: scheduler.type={kind!r}: {known}; or leave it out, and lr_scheduler_type decides"]
    wanted = [name for name in ("warmup_num_steps", "total_num_steps") if name in SCHEDULES[kind]]
    problems = [
        f"deepspeed: scheduler.params.{name}: {kind} takes no such number{near(name, SCHEDULES[kind])}; leave it out"
        for name in params
        if name not in SCHEDULES[kind]
    ]
    problems += [f"deepspeed: scheduler.params needs {n!r} for {kind}; write 'auto'" for n in wanted if n not in params]
    if str(args.lr_scheduler_type) != "linear":
        problems.append(
            f"lr_scheduler_type={str(args.lr_scheduler_type)!r}, and deepspeed: scheduler.type={kind!r}: expected one "
            "of them; leave the section 'scheduler' out"
        )
    return problems


def _unknown_autos(entries: dict[str, Any], decided: dict[str, Any]) -> list[str]:
    return [
        f"deepspeed: {name}='auto': no argument decides on it; write a value, or leave it out"
        for name, value in entries.items()
        if value == "auto" and name not in decided and name not in OWN_DEFAULTS
    ]


def _contradictions(entries: dict[str, Any], decided: dict[str, tuple[Any, str]]) -> list[str]:
    known = {name: value for name, (value, _) in decided.items() if value is not None}
    return [
        f"deepspeed: {name}={value!r}, and {decided[name][1]} is {decided[name][0]!r}: expected the same; "
        "write 'auto', and the argument decides"
        for name, value in entries.items()
        if value not in ("auto", known.get(name, value)) and not name.endswith("min_lr")
    ]


def _decided(name: str, value: Any, decided: dict[str, tuple[Any, str]]) -> tuple[Any, str]:
    """(value, who decided) of an entry."""
    if value != "auto":
        return value, "the file"
    return decided.get(name, ("DeepSpeed's default", "DeepSpeed"))


def _config(rows: list[tuple[str, Any, str]]) -> dict[str, Any]:
    """What Lightning is given: without what it sets itself, and with what our steps need."""
    config: dict[str, Any] = {"zero_allow_untested_optimizer": True}
    for name, value, by in rows:
        *path, last = name.split(".")
        if [*path, last][0] not in OURS and by != "DeepSpeed":
            place = config
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
    if config["zero_optimization"].get("offload_optimizer"):
        config.setdefault("zero_force_ds_cpu_optimizer", False)  # the optimizer is torch's
    if config.get("bf16", {}).get("enabled"):
        config["bf16"].setdefault("check_grad_overflow", True)  # a step whose gradients are not finite changes nothing
    for section in ("fp16", "bf16"):
        if not config.get(section, {}).get("enabled", True):
            del config[section]
    return config


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; keys of ours keep their order."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{before}{key}"
        found |= _flat(item, f"{name}.") if isinstance(item, dict) and item else {name: item}
    return found
