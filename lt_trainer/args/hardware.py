"""What the run finds (`Facts`), and the devices, strategy and precision that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from lt_trainer.flags import NO_FLAGS, Flags, conflicts

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments


@dataclass(frozen=True)
class Facts:
    """What is not in the arguments: the data's size and the machine.

    Attributes:
        num_train_rows: rows of the training data; None where they cannot be counted.
        num_train_batches: micro-batches a process and epoch, where a loader of the user's tells; else None.
        has_eval: whether there is evaluation data.
        accelerator: what the machine offers; `use_cpu` overrides it.
        num_visible_devices: of that accelerator.
        world_size: processes that were launched, all machines together; 1 if nothing launched any.
        local_world_size: of these on this machine.
        launched: by torchrun or something that sets its variables (RANK, WORLD_SIZE, LOCAL_WORLD_SIZE), as accelerate
            does, or by srun.
        has_train: whether training data was given: without it the plan is for evaluation alone.
        mixed_precision: fp16, bf16 or fp8 where `accelerate config` asks for it; "no" otherwise.
        flags: raw flags of Lightning that decide in place of arguments.
        no_restart: why this process's command cannot be started again, once a device; None where it can.
    """

    num_train_rows: int | None = None
    num_train_batches: int | None = None
    has_eval: bool = False
    accelerator: Literal["cpu", "cuda", "mps"] = "cpu"
    num_visible_devices: int = 1
    world_size: int = 1
    local_world_size: int = 1
    num_nodes: int = 1
    launched: bool = False
    has_train: bool = True
    mixed_precision: str = "no"
    no_restart: str | None = None
    flags: Flags = NO_FLAGS


@dataclass(frozen=True)
class Hardware:
    """Lightning's own names: accelerator, `devices` a machine, strategy, precision."""

    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    precision: str

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.devices * self.num_nodes


class Asked(Protocol):
    """The arguments that decide on processes."""

    use_cpu: bool
    devices: int | None


def processes(args: Asked, facts: Facts) -> tuple[str, int, int]:
    """The accelerator, the processes of a machine, and the machines."""
    accelerator = "cpu" if args.use_cpu else facts.accelerator
    if facts.launched:
        return accelerator, facts.local_world_size, facts.num_nodes
    gpus = facts.num_visible_devices if accelerator == "cuda" else 1
    return accelerator, args.devices or max(gpus, 1), facts.flags.num_nodes or 1


def plan_hardware(args: TrainingArguments, facts: Facts, *, shards: bool = False) -> tuple[Hardware, list[str]]:
    """Devices, strategy and precision, and what of it cannot be on this machine; `shards`: fsdp was asked for."""
    accelerator, devices, nodes = processes(args, facts)
    strategy = "deepspeed" if args.deepspeed else "fsdp" if shards else "ddp" if devices * nodes > 1 else "auto"
    kind = facts.flags.precision or precision(args, facts.mixed_precision)
    problems = conflicts(args, facts.flags, shards=shards, launched_nodes=nodes if facts.launched else None)
    found = Hardware(accelerator, devices, nodes, strategy, kind)
    problems += [problem for holds, problem in _problems(args, facts, found) if holds]
    return replace(found, strategy=facts.flags.strategy or strategy), problems


def _problems(args: TrainingArguments, facts: Facts, found: Hardware) -> list[tuple[bool, str]]:
    accelerator, devices, launched = found.accelerator, found.devices, facts.launched
    gpus = facts.num_visible_devices if accelerator == "cuda" else 1
    asked = "fp16=True" if args.fp16 else "mixed_precision: fp16 of `accelerate config`"
    asked = f"precision={found.precision!r}" if facts.flags.precision else asked
    shards, shrinks = found.strategy in ("deepspeed", "fsdp"), args.auto_find_batch_size
    start = f"expected one a GPU; start {gpus} (torchrun --nproc_per_node={gpus}), or pass use_cpu=True"
    file = "put the code into a file and run that, or pass devices=1"
    wait = "since others would wait for one that runs out of memory"
    rows = "set per_device_train_batch_size and gradient_accumulation_steps"
    return [
        (
            launched and args.devices not in (None, devices),
            f"devices={args.devices}: the launcher started {devices} processes here; leave out devices",
        ),
        (
            devices > gpus and accelerator != "cpu" and not launched,
            f"devices={devices}: this machine offers {gpus} of {accelerator}; ask for {gpus} or fewer",
        ),
        (
            launched and accelerator == "cuda" and devices > gpus,
            f"the launcher started {devices} processes on a machine with {gpus} GPU{'s' * (gpus != 1)}: {start}",
        ),
        (
            devices > 1 and not launched and facts.no_restart is not None,
            f"{devices} devices need a process each, which run the script again, and {facts.no_restart}: {file}",
        ),
        (
            found.precision.startswith("16") and accelerator == "cpu" and not facts.flags.precision_is_plugin,
            f"{asked}: float16 training needs a GPU and this run is on the CPU; use bf16=True",
        ),
        (
            found.precision == "fp8",
            "mixed_precision: fp8 of `accelerate config` is not supported; use bf16=True, or configure bf16",
        ),
        (
            shrinks and shards,
            f"auto_find_batch_size=True with {found.strategy}: not supported, since no step begins again there; {rows}",
        ),
        (
            shrinks and not shards and found.world_size > 1,
            f"auto_find_batch_size=True with {found.world_size} processes: not supported yet, {wait}; {rows}",
        ),
        (
            bool(args.tf32) and accelerator != "cuda",
            f"tf32=True: TF32 products need an NVIDIA GPU and this run is on {accelerator}; leave it out",
        ),
        (
            found.strategy == "fsdp" and accelerator == "mps",
            "fsdp: expected GPUs of NVIDIA or CPUs, this run is on mps; leave it out, or set use_cpu=True",
        ),
    ]


def precision(args: TrainingArguments, configured: str = "no") -> str:
    """Lightning's name of the precision; `configured` by accelerate counts where the arguments say nothing."""
    asked = "fp16" if args.fp16 else "bf16" if args.bf16 else configured
    if asked == "fp16":
        return {"O0": "32-true", "O3": "16-true"}.get(args.fp16_opt_level, "16-mixed")
    return {"bf16": "bf16-mixed", "fp8": "fp8"}.get(asked, "32-true")
