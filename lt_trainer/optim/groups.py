"""Which weights decay: all but biases and norms, by the rules of `transformers`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)")
_NORMS = (nn.LayerNorm, nn.RMSNorm)


def decaying(model: nn.Module) -> list[str]:
    """Names of the parameters that decay: all but biases and norms."""
    norms = {id(p) for module in model.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
    named = model.named_parameters()
    return [name for name, p in named if id(p) not in norms and not _NO_DECAY.search(name.lower())]


def decay_groups(model: nn.Module, weight_decay: float, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: those that decay, then biases and norms, which do not.

    The order within a group is that of `named_parameters`, tied weights once: the state of an optimizer over them fits
    that of `transformers`, whose rules these are.

    Args:
        model: whose parameters.
        weight_decay: of the first group.
        names: of the parameters that decay, in place of `decaying`.
    """
    chosen = frozenset(decaying(model) if names is None else names)
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decays if name in chosen else stays).append(parameter)
    if not decays and not stays:
        raise ValueError(
            "the model has no parameter to train: expected some with requires_grad=True, received none: unfreeze some, "
            "parameter.requires_grad_()"
        )
    return [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0.0}]


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("LayerNorm", "RMSNorm"))
