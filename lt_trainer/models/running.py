"""How the layers of a model are run: with activations computed again in the backward pass, with compiled kernels.

Dimension letters: N packed tokens, D width.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lt_trainer.args.check import near

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

_CHECKPOINT = frozenset(inspect.signature(checkpoint).parameters) - {"function", "args", "kwargs"} | {
    "preserve_rng_state"
}


class Layer(nn.Module):
    """One of the equal layers of a stack.

    Attributes:
        recompute: (function, its arguments) -> its result, keeping only the arguments for the backward pass; None
            keeps every activation.
        stands_alone: whether nothing beside its own call reads its weights, so that FSDP2 may fetch them for that.
    """

    recompute: Callable[..., Any] | None = None
    stands_alone = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As any module; while training with `recompute` through that."""
        if self.recompute is None or not (self.training and torch.is_grad_enabled()):
            return super().__call__(*args, **kwargs)
        return self.recompute(super().__call__, *args, **kwargs)


class TokenWise(nn.Module):
    """A part of a layer that sees each token by itself, [N, D] to [N, width]: what a compiler can fuse.

    What sees whole rows is not compiled: its shapes differ from batch to batch, and each would be compiled anew
    (https://github.com/pytorch/pytorch/issues/98102).
    """


def recompute_layers(
    model: nn.Module, options: Mapping[str, Any] | None = None, *, every_n_layers: int = 1, offload: bool = False
) -> None:
    """Turns on gradient checkpointing: about a third more time for memory that no longer grows with the layers.

    Args:
        model: with layers of the class `Layer`.
        options: of `torch.utils.checkpoint.checkpoint`. With `use_reentrant=True` the way without is taken all the
            same: what a layer shares with others (T5's bias) gets its gradient that way alone.
        every_n_layers: computes only each n-th layer again; the others keep their activations.
        offload: holds what the layers got in the host's memory, page-locked where there is a GPU.

    Raises:
        TypeError: options that the function does not have.
        ValueError: a model without such layers, or `every_n_layers` below 1.

    Source: https://arxiv.org/abs/1604.06174
    """
    options = dict(options or {})
    if unknown := sorted(set(options) - _CHECKPOINT):
        raise TypeError(
            f"gradient_checkpointing_kwargs: expected arguments of torch.utils.checkpoint.checkpoint "
            f"({', '.join(sorted(_CHECKPOINT))}), received {unknown[0]!r}{near(unknown[0], _CHECKPOINT)}"
        )
    if every_n_layers < 1:
        raise ValueError(f"every_n_layers: expected 1 or more, received {every_n_layers}")
    if options.pop("use_reentrant", False):
        logger.warning("use_reentrant=True: native models use the way without, whose gradients are the same")
    layers = _layers(model)
    if not layers:
        raise ValueError(f"gradient_checkpointing: expected a model with layers, received {type(model).__name__}")
    keep_activations(model)
    for layer in layers[::every_n_layers]:
        layer.recompute = partial(_offloaded if offload else checkpoint, use_reentrant=False, **options)


def _offloaded(*args: Any, **options: Any) -> Any:
    with torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available()):
        return checkpoint(*args, **options)


def keep_activations(model: nn.Module) -> None:
    """Turns gradient checkpointing off."""
    for layer in _layers(model):
        layer.recompute = None


def recomputes(model: nn.Module) -> bool:
    """Whether gradient checkpointing is on."""
    return any(layer.recompute is not None for layer in _layers(model))


def turn_on_recompute(model: nn.Module, options: dict[str, Any]) -> None:
    """Turns gradient checkpointing on by the name that the model has for it; each takes the options in its own word.

    Raises:
        ValueError: it has none.
    """
    own = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
    for word in ("activation", "gradient"):
        enable = getattr(model, f"{word}_checkpointing_enable", None)
        if enable is not None:
            enable(**{f"{word}_checkpointing_kwargs": options or {"use_reentrant": False}}, **own)
            return
    raise ValueError(
        f"gradient_checkpointing=True: expected a model with gradient_checkpointing_enable(), received "
        f"{type(model).__name__}: give it one that calls torch.utils.checkpoint, or leave the argument out"
    )


def compile_layers(model: nn.Module, backend: str, mode: str | None) -> None:
    """Compiles what sees each token by itself, for any number of tokens; other models as a whole.

    Parameter names stay as they are. A stack is compiled once, not once a layer: its parameters are inputs.

    Args:
        model: native or not.
        backend: of `torch.compile`.
        mode: likewise; None is its default.

    Raises:
        ValueError: a backend that does not exist (names the nearest), or one without the compiler that it needs.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(
            f"torch_compile_backend: expected one of {', '.join(known)}, received {backend!r}{near(backend, known)}"
        )
    on_cpu = next((p.device.type for p in model.parameters()), "cpu") == "cpu"
    if backend == "inductor" and on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise ValueError(
            "torch_compile: expected a C++ compiler, which inductor needs on a CPU, received neither g++ nor clang++ "
            "on PATH: install one, or set torch_compile_backend='aot_eager'"
        )
    parts = [part for layer in _layers(model) for part in layer.modules() if isinstance(part, TokenWise)]
    for part in parts:
        part.compile(backend=backend, mode=mode, dynamic=True)
    if not parts:
        model.compile(backend=backend, mode=mode)


def check_placement(model: nn.Module) -> None:
    """A model that `device_map` spread over devices cannot be moved to the one that a process trains on.

    Raises:
        ValueError: it lies on several.
    """
    places = sorted({str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()})
    if len(places) > 1:
        raise ValueError(
            f"{type(model).__name__} was spread over {places} by device_map: expected it on one device, since each "
            "process trains a copy on its own; load it without device_map, or set fsdp for one that no device holds"
        )


_SAME = {"RobertaLayer": "BertLayer", "TransformerBlock": "DistilBertBlock"}  # names in transformers -> here


def shard_units(model: nn.Module, names: Sequence[str] | None, min_num_params: int) -> list[nn.Module]:
    """The parts of a model whose weights FSDP2 fetches one part at a time, the inner ones first.

    Args:
        model: any.
        names: of their classes, as `transformers` calls them; None: the model's layers, or what it must not split.
        min_num_params: only parts that hold as many weights.

    Raises:
        ValueError: a name that no layer of the model has (lists those there are).
    """
    layers = _layers(model)
    own = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    known = {type(module).__name__ for module in (layers or model.modules())}
    wanted = {_SAME.get(name, name) if layers else name for name in names or ()}
    if unknown := sorted(wanted - known):
        raise ValueError(
            f"transformer_layer_cls_to_wrap: expected classes of {type(model).__name__} ({', '.join(sorted(known))}), "
            f"received {unknown[0]!r}{near(unknown[0], known)}"
        )
    units: list[nn.Module] = [layer for layer in layers if layer.stands_alone]
    if names is not None or not layers:
        units = [m for m in units or model.modules() if type(m).__name__ in (wanted or own)]
    large = [unit for unit in units if sum(p.numel() for p in unit.parameters()) >= min_num_params]
    return [unit for unit in reversed(large) if unit is not model]


def _layers(model: nn.Module) -> list[Layer]:
    return [module for module in model.modules() if isinstance(module, Layer)]
