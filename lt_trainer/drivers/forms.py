"""A model that is dealt out over processes, and put together again: in one form or the other, the same objects.

FSDP2 changes a model in place: it replaces the parameters of its modules, adds hooks and classes. What it changed is
noted here, so that the model can be put together for an evaluation, a checkpoint or its owner, and taken apart again.
The owner's parameters stay the objects that they were; while the model is dealt out they hold nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.distributed.tensor import DTensor

_ABSENT: Any = object()
_Entry = tuple[dict[Any, Any], Any, Any]  # a dict of a module, a key in it, the value that was there


class Forms:
    """The two forms of a model.

    Args:
        model: whole, with the same weights on every process.
        deal_out: calls `fully_shard` on the model and parts of it.
    """

    def __init__(self, model: nn.Module, deal_out: Callable[[], None]) -> None:
        self.root: FSDPModule
        modules = list(model.modules())
        dicts = [d for m in modules for d in (m.__dict__, *(v for v in m.__dict__.values() if isinstance(v, dict)))]
        before, classes = [dict(d) for d in dicts], [type(module) for module in modules]
        deal_out()
        assert isinstance(model, FSDPModule)
        self.root = model
        for module in modules:
            if isinstance(module, FSDPModule):  # it adds more hooks when it is fetched for the first time
                module.unshard()
                module.reshard()
        self._other: list[_Entry] = [
            (now, key, then.get(key, _ABSENT))
            for now, then in zip(dicts, before, strict=True)
            for key in {**then, **now}
            if now.get(key, _ABSENT) is not then.get(key, _ABSENT)
        ]
        self._classes = [(m, cls) for m, cls in zip(modules, classes, strict=True) if type(m) is not cls]
        pairs = {id(whole): (whole, d[key]) for d, key, whole in self._other if isinstance(whole, torch.nn.Parameter)}
        self._pairs: list[tuple[torch.nn.Parameter, DTensor]] = list(pairs.values())
        self.are_whole = False
        self._empty()

    def put_together(self, device: torch.device | None) -> None:
        """The form without shards, on every process; `device` of the weights, None: where they are."""
        for whole, share in self._pairs:
            full = share.full_tensor().detach()
            whole.data = full if device is None else full.to(device)
        self._swap()

    def take_apart(self) -> None:
        """The form with shards; what was put together is given up, so it must not have been changed."""
        self._swap()
        self._empty()

    def _empty(self) -> None:
        for whole, _ in self._pairs:
            whole.data = whole.data.new_empty(0)

    def _swap(self) -> None:
        other = [(entries, key, entries.get(key, _ABSENT)) for entries, key, _ in self._other]
        for entries, key, value in self._other:
            if value is _ABSENT:
                entries.pop(key, None)
            else:
                entries[key] = value
        classes = [(module, type(module)) for module, _ in self._classes]
        for module, cls in self._classes:
            module.__class__ = cls
        self._other, self._classes, self.are_whole = other, classes, not self.are_whole
