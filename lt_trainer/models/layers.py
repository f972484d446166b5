"""The pieces between the matrix products: dropout, residual, norm, activations.

Dimension letters: N packed tokens, D width.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_tanh_gelu = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}
# The same, written over what they take.
_OVERWRITING: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    F.gelu: torch.ops.aten.gelu_,
    _tanh_gelu: partial(torch.ops.aten.gelu_, approximate="tanh"),
    F.relu: torch.relu_,
}

_BITS = 16
_ALL_BITS = 1 << _BITS


def keep_mask(x: Tensor, p: float) -> Tensor:
    """A factor for each element of `x` on the CPU: 0 for a share `p` of them, 1 / (1 - p) for the others.

    A quarter of a 64-bit random number decides about an element, against a whole draw in `torch.nn.functional.dropout`:
    1.1 ns an element and not 6.2 on one AVX-512 core. The share is that of the nearest sixteen-bit fraction (0.1
    becomes 0.100006) and the factor fits it exactly. The numbers come from torch's generator, so that its state alone
    reproduces them. Inside a compiled part they are drawn by an operator that the compiler does not look into.
    """
    drawn: Tensor = _keep_mask_op(x.detach(), p) if torch.compiler.is_compiling() else _draw(x, p)
    return drawn


def _draw(x: Tensor, p: float) -> Tensor:
    threshold = min(round(p * _ALL_BITS), _ALL_BITS - 1)
    draws = torch.empty(-(-x.numel() * _BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    keep = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.ge(bits, threshold - _ALL_BITS // 2, out=keep)  # written as a float in one pass, 3 times as fast as a bool
    return keep.mul_(_ALL_BITS / (_ALL_BITS - threshold))


_keep_mask_op = torch.library.custom_op(
    "lt_trainer::keep_mask",
    _draw,
    mutates_args=(),
    schema="(Tensor x, float p) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)
_keep_mask_op.register_fake(lambda x, p: torch.empty_like(x, memory_format=torch.contiguous_format))


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout, with cheaper random numbers on the CPU.

    Args:
        x: of any shape and floating type, which the result has too.
        p: share of the elements that become 0, 0 to 1; the others grow by 1 / (1 - p).
        training: False returns `x` itself.
    """
    if not training or p == 0.0:
        return x
    return x * keep_mask(x, p) if x.device.type == "cpu" else F.dropout(x, p)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """Drops elements in training mode."""
        return dropout(input, self.p, self.training)


def add_dropped(x_ND: Tensor, residual_ND: Tensor, p: float, training: bool) -> Tensor:
    """The residual with what dropout leaves of `x`."""
    if training and p > 0.0 and x_ND.device.type == "cpu":
        return torch.addcmul(residual_ND, x_ND, keep_mask(x_ND, p))  # one pass for product and sum
    return residual_ND + dropout(x_ND, p, training)


def add_norm(x_ND: Tensor, residual_ND: Tensor, norm: nn.LayerNorm, p: float = 0.0) -> Tensor:
    """norm(residual + dropout(x)), with `p` as the share that is dropped in training mode of the norm."""
    normed: Tensor = norm(add_dropped(x_ND, residual_ND, p, norm.training))
    return normed


def activate(projection: nn.Module, x_ND: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """activation(projection(x)), with one of `ACTIVATIONS`.

    Without gradients it takes the memory of the projection's output, the widest of a model: 8 % of a feed-forward part.
    Not where that can be seen: a hook may keep the output, and what stands in a projection's place may return `x`.
    """
    projected = projection(x_ND)
    overwriting = _OVERWRITING.get(activation)
    if overwriting is None or torch.is_grad_enabled() or torch.compiler.is_compiling() or not _is_fresh(projection):
        return activation(projected)
    return overwriting(projected)


def _is_fresh(projection: nn.Module) -> bool:
    """Whether nobody but the caller holds the output of this module."""
    hooks = projection._forward_hooks or nn.modules.module._global_forward_hooks  # where torch itself looks for them
    return isinstance(projection, (nn.Linear, Conv1D)) and not hooks


class RMSNorm(nn.Module):
    """x / sqrt(mean(x**2) + eps) * weight: no mean is taken off and no bias added; computed in float32.

    Source: https://arxiv.org/abs/1910.07467
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]."""
        scaled_ND = x_ND.float() * torch.rsqrt(x_ND.float().square().mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled_ND.to(self.weight.dtype)


class Conv1D(nn.Module):
    """A linear layer whose weight lies as [in, out], which is how GPT-2 was published."""

    def __init__(self, out_width: int, in_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_width, out_width))
        self.bias = nn.Parameter(torch.zeros(out_width))

    def forward(self, x_ND: Tensor, columns: slice = slice(None)) -> Tensor:
        """[N, out], or some of its columns."""
        return torch.addmm(self.bias[columns], x_ND, self.weight[:, columns])


class DrawnLinear(nn.Linear):
    """A projection without bias whose weight is drawn with a spread of its own, `std`."""

    def __init__(self, in_width: int, out_width: int, std: float) -> None:
        super().__init__(in_width, out_width, bias=False)
        self.std = std
