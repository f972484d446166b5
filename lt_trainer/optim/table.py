"""Optimizers by the names that `optim` takes: where each comes from, and what it is given."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from lt_trainer.args.check import ConfigurationError, near
from lt_trainer.names import OPTIMIZERS as PACKAGES
from lt_trainer.optim.groups import decay_groups
from lt_trainer.optim.low_rank import low_rank_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lt_trainer.args.plan import Optimization


class Recipe(NamedTuple):
    """An optimizer: the class's module and name, what it always gets, and settings of its low-rank group."""

    module: str
    name: str
    always: dict[str, Any] = {}  # noqa: RUF012  (never written)
    projection: dict[str, Any] | None = None


_GALORE = {"rank": 128, "update_proj_gap": 200, "scale": 0.25, "proj_type": "std"}
_APOLLO = {**_GALORE, "scale": 1.0, "proj": "random", "scale_type": "channel"}
_FIXED_RATE = {"scale_parameter": False, "relative_step": False}


def _bits(name: str, bits: int, paged: bool | None = None) -> Recipe:
    return Recipe("bitsandbytes.optim", name, {"optim_bits": bits} | ({} if paged is None else {"is_paged": paged}))


OPTIMIZERS: dict[str, Recipe] = {
    "adamw_torch": Recipe("torch.optim", "AdamW"),
    "adamw_torch_fused": Recipe("torch.optim", "AdamW", {"fused": True}),
    "sgd": Recipe("torch.optim", "SGD"),
    "adagrad": Recipe("torch.optim", "Adagrad"),
    "rmsprop": Recipe("torch.optim", "RMSprop"),
    "adafactor": Recipe("lt_trainer.optim.adafactor", "Adafactor", _FIXED_RATE),
    "adamw_torch_xla": Recipe("torch_xla.amp.syncfree", "AdamW"),
    "adamw_torch_npu_fused": Recipe("torch_npu.optim", "NpuFusedAdamW"),
    "adamw_anyprecision": Recipe("torchdistx.optimizers", "AnyPrecisionAdamW"),
    "adamw_torch_4bit": Recipe("torchao.optim", "AdamW4bit"),
    "adamw_torch_8bit": Recipe("torchao.optim", "AdamW8bit"),
    "adamw_bnb_8bit": _bits("AdamW", 8, False),
    "adamw_8bit": _bits("AdamW", 8, False),
    "paged_adamw_32bit": _bits("AdamW", 32, True),
    "paged_adamw_8bit": _bits("AdamW", 8, True),
    "ademamix": _bits("AdEMAMix", 32, False),
    "ademamix_8bit": _bits("AdEMAMix", 8, False),
    "paged_ademamix_32bit": _bits("AdEMAMix", 32, True),
    "paged_ademamix_8bit": _bits("AdEMAMix", 8, True),
    "lion_32bit": _bits("Lion", 32, False),
    "lion_8bit": _bits("Lion", 8, False),
    "paged_lion_32bit": _bits("Lion", 32, True),
    "paged_lion_8bit": _bits("Lion", 8, True),
    "rmsprop_bnb": _bits("RMSprop", 32),
    "rmsprop_bnb_8bit": _bits("RMSprop", 8),
    "rmsprop_bnb_32bit": _bits("RMSprop", 32),
    "galore_adamw": Recipe("galore_torch", "GaLoreAdamW", {}, _GALORE),
    "galore_adamw_8bit": Recipe("galore_torch", "GaLoreAdamW8bit", {}, _GALORE),
    "galore_adafactor": Recipe("galore_torch", "GaLoreAdafactor", _FIXED_RATE, _GALORE),
    "apollo_adamw": Recipe("apollo_torch", "APOLLOAdamW", {}, _APOLLO),
    "grokadamw": Recipe("grokadamw", "GrokAdamW"),
    "schedule_free_adamw": Recipe("schedulefree", "AdamWScheduleFree"),
    "schedule_free_radam": Recipe("schedulefree", "RAdamScheduleFree"),
    "schedule_free_sgd": Recipe("schedulefree", "SGDScheduleFree"),
    "stable_adamw": Recipe("optimi", "StableAdamW"),
}


def optimizer_class(name: str) -> type[Optimizer]:
    """The class behind a name of `optim`.

    Raises:
        ImportError: its package is not installed (names it).
    """
    recipe = OPTIMIZERS[name]
    try:
        cls: type[Optimizer] = getattr(importlib.import_module(recipe.module), recipe.name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"optim={name!r} comes from the package {PACKAGES[name]}, which is not installed or has no {recipe.name} "
            f"({error}): pip install {PACKAGES[name]}, or take optim='adamw_torch'"
        ) from error
    return cls


def create_optimizer(model: nn.Module, plan: Optimization, names: Iterable[str] | None = None) -> Optimizer:
    """Makes the optimizer of a plan over the decay groups of a model; `names` is that of `decay_groups`.

    Raises:
        ConfigurationError: `optim_args` names what the optimizer does not take.
        ImportError: the optimizer's package is not installed.
    """
    cls, kwargs = class_and_kwargs(plan)
    own = dict(OPTIMIZERS[plan.name].projection or {})
    own |= {name: kwargs.pop(name) for name in [*kwargs] if name in own}
    groups = low_rank_groups(model, plan, own) if own else decay_groups(model, plan.weight_decay, names)
    optimizer = cls(groups, **kwargs)
    if kwargs.get("optim_bits") == 8:
        _keep_embeddings_whole(model)
    return optimizer


def class_and_kwargs(plan: Optimization) -> tuple[type[Optimizer], dict[str, Any]]:
    """The optimizer's class, and everything but the parameters; `optim_args` stand above the other arguments.

    Raises:
        ConfigurationError: `optim_args` names what the optimizer does not take.
        ImportError: the optimizer's package is not installed.
    """
    cls, recipe = optimizer_class(plan.name), OPTIMIZERS[plan.name]
    takes = inspect.signature(cls).parameters
    given = read_optim_args(plan.args)
    common: dict[str, Any] = {"lr": plan.learning_rate, "betas": plan.betas, "eps": plan.epsilon}
    if recipe.name == "AdEMAMix":  # the names of `transformers` for its three decays
        common["betas"] = tuple(given.pop(f"beta{i}", beta) for i, beta in enumerate((*plan.betas, 0.9999), 1))
    if recipe.module == "schedulefree":
        common |= {"warmup_steps": plan.warmup_steps, "weight_decay": plan.weight_decay}
    if "betas" not in takes:
        del common["eps"]  # Adam's; the same name means another thing elsewhere
    allowed = [*takes, *(recipe.projection or {})]
    if problems := [f"optim_args: {plan.name} takes no {n!r}{near(n, allowed)}" for n in given if n not in allowed]:
        raise ConfigurationError(problems)
    return cls, {name: value for name, value in common.items() if name in takes} | recipe.always | given


def create_user_optimizer(
    model: nn.Module, cls: Any, kwargs: dict[str, Any], plan: Optimization, names: Iterable[str] | None = None
) -> Optimizer:
    """Makes what `Trainer(optimizer_cls_and_kwargs=...)` names.

    Args:
        model: of the run.
        cls: an optimizer's class, called with the decay groups (or with `params` or `model` of `kwargs`); anything
            else is called without arguments and returns a function (model, **kwargs) -> optimizer.
        kwargs: its arguments.
        plan: of the run, for the weight decay.
        names: see `decay_groups`.
    """
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        make: Callable[..., Optimizer] = cls()
        return make(model, **kwargs)
    rest = {name: value for name, value in kwargs.items() if name not in ("params", "model", "optimizer_dict")}
    instead = [kwargs[name] for name in ("optimizer_dict", "model", "params") if name in kwargs]
    return cls(instead[0] if instead else decay_groups(model, plan.weight_decay, names), **rest)


def _keep_embeddings_whole(model: nn.Module) -> None:
    """Embeddings train badly with 8 bits of state: their advice, which `transformers` follows too."""
    manager = importlib.import_module("bitsandbytes.optim").GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


def read_optim_args(text: str | None) -> dict[str, Any]:
    """Reads "momentum=0.9,nesterov=True" to numbers, switches and words.

    Raises:
        ConfigurationError: a part is not name=value.
    """
    values: dict[str, Any] = {}
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigurationError(
                [f"optim_args={text!r}: expected name=value,name=value, received {part!r}; write {part}=VALUE"]
            )
        try:
            values[name] = ast.literal_eval(value.capitalize() if value in ("true", "false") else value)
        except (ValueError, SyntaxError):
            values[name] = value
    return values
