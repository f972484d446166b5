"""Tables of token embeddings that grow or shrink with the vocabulary.

Dimension letters: V vocabulary, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from lt_trainer.models.base import PreTrainedModel

_SPREAD = 1e-9  # of new rows around the mean, as a share of the old rows' covariance


def new_size(current: int, new_num_tokens: int | None, pad_to_multiple_of: int | None) -> int:
    """Rows that a table is to have.

    Args:
        current: rows now.
        new_num_tokens: rows wanted; None = as many as now.
        pad_to_multiple_of: rounds up; None = not.

    Raises:
        ValueError: a number that is no whole number of at least 1.
    """
    for name, value in {"new_num_tokens": new_num_tokens, "pad_to_multiple_of": pad_to_multiple_of}.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name}={value!r}: expected a whole number of at least 1: len(tokenizer) is usual")
    wanted = current if new_num_tokens is None else new_num_tokens
    step = pad_to_multiple_of or 1
    return -(-wanted // step) * step


@torch.no_grad()
def resize(model: PreTrainedModel, size: int, mean_resizing: bool) -> None:
    """Gives the token embeddings, and the projection to the vocabulary where there is one, `size` rows.

    What was one parameter under several names stays one. Biases get zeros.

    Args:
        model: of a native family.
        size: rows of the tables.
        mean_resizing: see `PreTrainedModel.resize_token_embeddings`.
    """
    embeddings, last = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [embeddings.weight] if last is None else [embeddings.weight, last.weight]
    for table in {id(table): table for table in tables}.values():
        _replace(model, table, _resized(model, table, size, mean_resizing))
    if last is not None:
        last.out_features = size
        if last.bias is not None:
            bias = last.bias.new_zeros(size)
            bias[: last.bias.shape[0]] = last.bias[:size]
            _replace(model, last.bias, bias)


def _replace(model: nn.Module, old: Tensor, values: Tensor) -> None:
    """Puts a new parameter wherever the old one stands; graphs that hold the old one stay whole."""
    new = nn.Parameter(values, requires_grad=old.requires_grad)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter is old:
                setattr(module, name, new)
        if isinstance(module, nn.Embedding) and module.weight is new:
            module.num_embeddings = len(new)
            if module.padding_idx is not None and module.padding_idx >= len(new):
                module.padding_idx = None


def _resized(model: PreTrainedModel, table_VD: Tensor, size: int, mean_resizing: bool) -> Tensor:
    """The first rows of a table, and new ones behind them."""
    old = table_VD.shape[0]
    if size <= old:
        return table_VD[:size].clone()
    # Made in both cases: it draws from the generator, which then stands where that of `transformers` stands.
    fresh = nn.Embedding(size, table_VD.shape[1], device=table_VD.device, dtype=table_VD.dtype)
    if mean_resizing:
        fresh.weight[old:] = _around_the_mean(table_VD.float(), size - old)
    else:
        model.init_module(fresh)
    fresh.weight[:old] = table_VD
    return fresh.weight.data


def _around_the_mean(table_VD: Tensor, number: int) -> Tensor:
    """New rows from a normal distribution with the mean and a sliver of the covariance of the old ones.

    A new token then hardly changes what a language model says of the others.
    Source: https://nlp.stanford.edu/~johnhew/vocab-expansion.html
    """
    mean_D = table_VD.mean(dim=0)
    centred_VD = table_VD - mean_D
    root_DD, failed = torch.linalg.cholesky_ex(_SPREAD * (centred_VD.T @ centred_VD) / table_VD.shape[0])
    if failed:  # fewer old rows than columns: no distribution, the mean alone
        return mean_D.expand(number, -1)
    draw = torch.normal(torch.zeros(number, len(mean_D)), torch.ones(number, len(mean_D))).to(mean_D.device)
    drawn: Tensor = mean_D + draw @ root_DD.T
    return drawn
