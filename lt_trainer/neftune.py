"""NEFTune: noise on the embeddings while a model is trained (https://arxiv.org/abs/2310.05914)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lt_trainer.packed import PackedBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

PADDED = -1  # tokens of a batch that the model packs by itself


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float | None) -> Iterator[None]:
    """Adds noise to the input embeddings inside, wherever the model is in training mode; takes the hooks off after.

    Each element gets uniform noise of at most alpha / sqrt(T D), with T the padded length of its batch. It is drawn
    from torch's global generator, whose state is saved: a run that goes on sees the same noise.

    Args:
        model: with `get_input_embeddings`, as those here and of `transformers`.
        alpha: size of the noise; None or 0: none.

    Raises:
        ValueError: a model that does not say where its embeddings are.
    """
    if not alpha:
        yield
        return
    find = getattr(model, "get_input_embeddings", None)
    if find is None:
        raise ValueError(
            f"neftune_noise_alpha={alpha}: expected a model with get_input_embeddings(), received "
            f"{type(model).__name__}: give it that method, or leave neftune_noise_alpha out"
        )
    widths: dict[int, int] = {}  # tokens of a packed batch -> the length that it was padded to

    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        widths.clear()
        packs = [value for value in kwargs.values() if isinstance(value, PackedBatch)]
        widths.update({packed.num_tokens: packed.padded_shape[1] for packed in packs})
        if (ids := kwargs.get("input_ids", args[0] if args else None)) is not None:
            widths[PADDED] = ids.shape[-1]

    def add(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        tokens = output.shape[-2] if output.ndim > 2 else widths.get(len(output), widths.get(PADDED, len(output)))
        size = alpha / (tokens * output.shape[-1]) ** 0.5
        return output + torch.zeros_like(output).uniform_(-size, size)

    hooks = [model.register_forward_pre_hook(note, with_kwargs=True), find().register_forward_hook(add)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
