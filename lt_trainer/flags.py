"""Flags of `lightning.Trainer` that decide in place of arguments: strategy, precision, number of machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lt_trainer.args.fields import TrainingArguments

_SHORT = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
_PRECISIONS = ("fp16", "bf16")
_DDP = ("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend")


@dataclass(frozen=True)
class Flags:
    """What was given to Lightning itself; None and False: nothing, the arguments decide.

    Attributes:
        strategy: its name, or the class of an object.
        strategy_is_object: whether settings of DDP stand in the object, and so not in the arguments.
        precision: Lightning's name of it, as `precision` or as a plugin has it.
        precision_is_plugin: whether it came as an object, which may bring a scaler of its own.
        num_nodes: machines.
        problems: of the objects, found where Lightning can be asked.
    """

    strategy: str | None = None
    strategy_is_object: bool = False
    precision: str | None = None
    precision_is_plugin: bool = False
    num_nodes: int | None = None
    problems: tuple[str, ...] = ()


NO_FLAGS = Flags()


def full_name(precision: str) -> str:
    """Lightning's whole name for a short one: "bf16" is "bf16-mixed"."""
    return _SHORT.get(precision, precision)


def conflicts(args: TrainingArguments, flags: Flags, *, shards: bool, launched_nodes: int | None) -> list[str]:
    """What is wrong with the flags, and arguments or launchers that say the same thing, each with what to do.

    Args:
        args: the arguments.
        flags: beside them.
        shards: whether the arguments ask for fsdp.
        launched_nodes: machines that a launcher started; None: there is none.
    """
    found = list(flags.problems)
    if launched_nodes is not None and flags.num_nodes not in (None, launched_nodes):
        found.append(f"num_nodes={flags.num_nodes}: the launcher started {launched_nodes} machine(s); leave it out")
    sharder = "deepspeed" if args.deepspeed else "fsdp" if shards else None
    if flags.strategy is not None and sharder:
        found.append(f"{sharder} beside strategy={flags.strategy!r} of lightning_flags: expected one; leave either out")
    if flags.strategy_is_object and (given := [name for name in _DDP if getattr(args, name) is not None]):
        found.append(
            f"{given} beside strategy={flags.strategy!r} of lightning_flags: its settings are the object's; write them "
            "into the strategy, or leave the strategy out"
        )
    if flags.precision is not None:
        told = f"precision {flags.precision!r} of lightning_flags"
        found += [
            f"{name}=True beside {told}: expected one; leave either out" for name in _PRECISIONS if getattr(args, name)
        ]
        if sharder:
            found.append(f"{told} with {sharder}: expected bf16 or fp16 of the arguments, which decide for both")
    return found
