"""From a facade's arguments and model to the flags of `lightning.Trainer`, its strategy, and a prepared model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.args.check import ConfigurationError
from lt_trainer.criterion import Criterion
from lt_trainer.loaders import limits_of
from lt_trainer.models.running import check_placement, compile_layers, turn_on_recompute
from lt_trainer.objective import count_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.args.plan import Plan
    from lt_trainer.data.windows import Batch
    from lt_trainer.sharding.fsdp import Sharding
    from lt_trainer.trainer import Trainer


def prepare_model(facade: Trainer, sharding: Sharding | None) -> None:
    """Gradient checkpointing and compilation, where the arguments ask for them, before Lightning takes the model.

    Raises:
        ValueError: a model that cannot compute activations again or lies on several devices, a compiler that is not
            there, or an optimizer over weights that are dealt out later.
    """
    if sharding is not None and facade.optimizer is not None:
        raise ValueError(
            "optimizers= with fsdp: expected none, since its parameters are dealt out when training starts, received "
            f"{type(facade.optimizer).__name__}: override create_optimizer, or pass optimizer_cls_and_kwargs"
        )
    model, args = facade.model, facade.args
    check_placement(model)
    if args.gradient_checkpointing or (sharding is not None and sharding.recompute):
        turn_on_recompute(model, dict(args.gradient_checkpointing_kwargs or {}))
    if args.torch_compile:
        compile_layers(model, args.torch_compile_backend or "inductor", args.torch_compile_mode)


def raw_flags(facade: Trainer) -> dict[str, Any]:
    """The flags that the caller gives Lightning, with the callbacks that are Lightning's own."""
    given = dict(facade.lightning_flags)
    callbacks = [*(given.get("callbacks") or ()), *facade.callback_handler.lightning]
    return {**given, "callbacks": callbacks} if callbacks else given


def with_strategy(flags: dict[str, Any], plan: Plan, *, trains: bool) -> dict[str, Any]:
    """The flags with the strategy as the arguments want it; DDP evaluates what DeepSpeed or FSDP2 trained.

    Raises:
        ImportError: DeepSpeed is not installed.
    """
    if plan.deepspeed is not None and flags["strategy"] == "deepspeed" and trains:
        from lt_trainer.drivers.deepspeed import import_deepspeed, make_strategy

        import_deepspeed(on_cpu=plan.hardware.accelerator == "cpu")
        return {**flags, "strategy": make_strategy(plan.deepspeed.config, plan.ddp.get("timeout"))}
    if plan.sharding is not None and flags["strategy"] == "fsdp" and trains:
        from lt_trainer.drivers.fsdp import FSDP2Strategy

        group = {name: value for name, value in plan.ddp.items() if name in ("process_group_backend", "timeout")}
        return {**flags, "strategy": FSDP2Strategy(plan.sharding, plan.hardware.world_size, **group)}
    if flags["strategy"] in ("deepspeed", "fsdp"):  # whose names among raw flags were refused
        flags = {**flags, "strategy": "ddp" if plan.hardware.world_size > 1 else "auto"}
    from lightning.pytorch.strategies import DDPStrategy

    return {**flags, "strategy": DDPStrategy(**plan.ddp)} if plan.ddp and flags["strategy"] == "ddp" else flags


def token_counter(facade: Trainer) -> Callable[[Batch], int] | None:
    """Counts the input tokens of a padded batch, as `include_num_input_tokens_seen` says; None where it says no."""
    wanted, pad = facade.args.include_num_input_tokens_seen, getattr(facade.processing_class, "pad_token_id", None)
    name = getattr(facade.model, "main_input_name", "input_ids")
    return None if wanted == "no" else partial(count_tokens, name=name, padding=wanted == "all", pad=pad)


def criterion(facade: Trainer) -> Criterion:
    """Label smoothing and class weights, as the arguments say.

    Raises:
        ConfigurationError: another number of weights than the model has classes.
    """
    weights, classes = facade.args.class_weights, limits_of(facade).num_labels
    if weights is not None and classes is not None and len(weights) != classes:
        problem = f"class_weights={weights}: expected {classes} numbers, one a class, received {len(weights)}"
        raise ConfigurationError([f"{problem}; change them, or num_labels of the model"])
    return Criterion(facade.args.label_smoothing_factor, weights)


def evaluation_dtype(args: TrainingArguments) -> torch.dtype | None:
    """Of the weights in evaluations outside training; None: as they are."""
    return torch.bfloat16 if args.bf16_full_eval else torch.float16 if args.fp16_full_eval else None
