"""Which linear layers an optimizer with low-rank projections treats apart: `optim_target_modules`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from lt_trainer.args.check import ConfigurationError

if TYPE_CHECKING:
    from lt_trainer.args.plan import Optimization


def low_rank_groups(model: nn.Module, plan: Optimization, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: all others, then the weights of the linear layers that are targets.

    Args:
        model: of the run.
        plan: its `target_modules` are names or parts of them, a regular expression, or "all-linear".
        own: settings of the projection, for the second group.

    Raises:
        ConfigurationError: no targets are named, or no linear layer is one.
    """
    targets = plan.target_modules
    if not targets:
        problem = f"optim={plan.name!r} without optim_target_modules: expected names of linear layers, or 'all-linear'"
        raise ConfigurationError([f"{problem}; set optim_target_modules='all-linear'"])
    chosen = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Linear) and is_target(n, targets)]
    if not chosen:
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][:8]
        problem = f"optim_target_modules={targets!r}: expected some of the model's linear layers, such as {linear}"
        raise ConfigurationError([f"{problem}, and none is; take 'all-linear'"])
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in named if name not in chosen]},
        {"params": [p for name, p in named if name in chosen], **own},
    ]


def is_target(name: str, targets: str | tuple[str, ...]) -> bool:
    """Whether a module is meant: any part of its name is in a list, or a regular expression matches all of it."""
    if isinstance(targets, str):
        return targets.replace("_", "-") == "all-linear" or re.fullmatch(targets, name) is not None
    return any(target in name or re.fullmatch(target, name) for target in targets)
