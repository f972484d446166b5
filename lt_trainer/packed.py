"""Packed batches: the real tokens of every row, row after row, and the way there and back.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor


class Read(NamedTuple):
    """The packed positions at which somebody reads the output: what a last layer has to compute.

    Attributes:
        index_R: int64, positions in N, ascending, none twice.
        lengths: positions read in each of the B rows, on the host; zeros are allowed.
    """

    index_R: Tensor
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class PackedBatch:
    """The N real tokens of B rows, row after row, without padding.

    Attributes:
        input_ids_N: int64 token ids.
        position_ids_N: int64 positions in the row; columns of the padded batch unless the caller gave others.
        index_N: int64, where each token lies in the flattened padded batch (B*T): left and right padding, and holes.
        lengths: real tokens of each row. On the host, so that cutting rows apart never waits for a device. Where a row
            of the padded batch holds several texts, each of them counts as a row here.
        padded_shape: (B, T).
        token_type_ids_N: int64, or None where all are type 0.
        read: the positions that hold targets, or None where every token is read.
    """

    input_ids_N: Tensor
    position_ids_N: Tensor
    index_N: Tensor
    lengths: tuple[int, ...]
    padded_shape: tuple[int, int]
    token_type_ids_N: Tensor | None = None
    read: Read | None = None

    @property
    def num_tokens(self) -> int:
        """Real tokens of all rows: N."""
        return self.input_ids_N.numel()

    @property
    def starts(self) -> tuple[int, ...]:
        """The packed position of the first token of each row."""
        return tuple(accumulate(self.lengths[:-1], initial=0))

    def first(self) -> Read:
        """The first real token of each row."""
        return Read(torch.tensor(self.starts, device=self.index_N.device), (1,) * len(self.lengths))

    def reading(self, read_N: Tensor) -> PackedBatch:
        """The same batch, of which only the positions marked True in `read_N` (bool) are read."""
        index_R = read_N.nonzero().squeeze(1)
        ends_B = torch.tensor([0, *accumulate(self.lengths)], device=index_R.device)
        return replace(self, read=Read(index_R, tuple(torch.searchsorted(index_R, ends_B).diff().tolist())))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch with its tensors on `device`; lengths stay on the host."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PackedBatch:
        """The same batch in page-locked memory; data loaders call it where they pin."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        return PackedBatch(
            change(self.input_ids_N),
            change(self.position_ids_N),
            change(self.index_N),
            self.lengths,
            self.padded_shape,
            None if self.token_type_ids_N is None else change(self.token_type_ids_N),
            None if self.read is None else Read(change(self.read.index_R), self.read.lengths),
        )


def pack(
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor | None = None,
    token_type_ids_BT: Tensor | None = None,
    position_ids_BT: Tensor | None = None,
) -> PackedBatch:
    """Drops the padding of a batch.

    Args:
        input_ids_BT: int64 token ids.
        attention_mask_BT: non-zero = real token, on either side or with holes; None = all are real.
        token_type_ids_BT: int64, or None for type 0 everywhere.
        position_ids_BT: int64 (B or 1 rows), or None for the column of each token, as in `transformers`. Where they
            begin anew inside a row, another text begins: the two are kept apart like rows.

    Raises:
        ValueError: a shape does not fit, or a row has no real token.
    """
    _check_shapes(input_ids_BT, attention_mask_BT, token_type_ids_BT, position_ids_BT)
    num_rows, width = input_ids_BT.shape
    if attention_mask_BT is None:
        index_N = torch.arange(num_rows * width, device=input_ids_BT.device)
        lengths = (width,) * num_rows
    else:
        real_BT = attention_mask_BT != 0
        index_N = real_BT.flatten().nonzero().squeeze(1)
        lengths = tuple(real_BT.sum(dim=1).tolist())
    if 0 in lengths:
        raise ValueError(
            f"attention_mask: expected a real token in every row, received row {lengths.index(0)} of "
            f"{tuple(input_ids_BT.shape)} with zeros alone: leave that row out of the batch"
        )
    position_ids_N = index_N % width
    if position_ids_BT is not None:
        position_ids_N = position_ids_BT.expand(num_rows, -1).flatten()[index_N]
        lengths = _lengths_of_texts(position_ids_N, lengths)
    return PackedBatch(
        input_ids_N=input_ids_BT.flatten()[index_N],
        position_ids_N=position_ids_N,
        index_N=index_N,
        lengths=lengths,
        padded_shape=(num_rows, width),
        token_type_ids_N=None if token_type_ids_BT is None else token_type_ids_BT.flatten()[index_N],
    )


def _lengths_of_texts(position_ids_N: Tensor, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens of each text: positions that count up by one and always go back to one number begin a text there.

    Other positions, such as a permutation or columns with holes, say nothing about texts: then each row is one.
    """
    begins_N = torch.ones_like(position_ids_N, dtype=torch.bool)
    begins_N[1:] = position_ids_N.diff() != 1
    rows_N = torch.zeros_like(begins_N)
    rows_N[torch.tensor([0, *accumulate(lengths[:-1])], device=rows_N.device)] = True
    inner = position_ids_N[begins_N & ~rows_N]
    if not inner.numel() or inner.min() != inner.max() or inner[0] > position_ids_N[rows_N].min():
        return lengths
    starts = (begins_N | rows_N).nonzero().flatten().tolist()
    return tuple(end - start for start, end in pairwise([*starts, len(position_ids_N)]))


def join(batches: Sequence[PackedBatch]) -> PackedBatch:
    """Several packed batches as one, of all their rows in order; its padded shape has the widest one's length.

    Without padding a pass over more rows costs no more tokens, and the matrix products of short batches are slow.
    """
    width = max(batch.padded_shape[1] for batch in batches)
    rows = list(accumulate((batch.padded_shape[0] for batch in batches), initial=0))
    tokens = list(accumulate((batch.num_tokens for batch in batches), initial=0))
    index = [
        (batch.index_N // batch.padded_shape[1] + row) * width + batch.index_N % batch.padded_shape[1]
        for batch, row in zip(batches, rows, strict=False)
    ]
    types = [batch.token_type_ids_N for batch in batches if batch.token_type_ids_N is not None]
    reads = [(batch.read, token) for batch, token in zip(batches, tokens, strict=False) if batch.read is not None]
    return PackedBatch(
        input_ids_N=torch.cat([batch.input_ids_N for batch in batches]),
        position_ids_N=torch.cat([batch.position_ids_N for batch in batches]),
        index_N=torch.cat(index),
        lengths=tuple(length for batch in batches for length in batch.lengths),
        padded_shape=(rows[-1], width),
        token_type_ids_N=torch.cat(types) if types else None,
        read=Read(torch.cat([r.index_R + t for r, t in reads]), sum((r.lengths for r, _ in reads), ()))
        if reads
        else None,
    )


def join_inputs(batches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The packed inputs of several batches as those of one: packed sides joined, labels one after the other.

    Args:
        batches: what `pack_inputs` made, each alike to the first (see `alike`).
    """
    return {
        name: join([batch[name] for batch in batches])
        if isinstance(value, PackedBatch)
        else torch.cat([batch[name] for batch in batches])
        for name, value in batches[0].items()
    }


def alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether the packed inputs of two batches can be joined: the same names, kinds and shapes of a row."""
    return a.keys() == b.keys() and all(_kind(a[name]) == _kind(b[name]) is not None for name in a)


def _kind(value: Any) -> tuple[Any, ...] | None:
    if isinstance(value, PackedBatch):
        return PackedBatch, value.token_type_ids_N is None, value.read is None
    return (value.dtype, value.shape[1:]) if isinstance(value, torch.Tensor) and value.ndim else None


def _check_shapes(input_ids_BT: Tensor, *others: Tensor | None) -> None:
    if input_ids_BT.ndim != 2:
        raise ValueError(
            f"input_ids: expected the shape (rows, length), received {tuple(input_ids_BT.shape)}: "
            "give one row as input_ids[None]"
        )
    names = ("attention_mask", "token_type_ids", "position_ids")
    for name, tensor in zip(names, others, strict=True):
        allowed = [input_ids_BT.shape] + ([torch.Size([1, input_ids_BT.shape[1]])] if name == "position_ids" else [])
        if tensor is not None and tensor.shape not in allowed:
            raise ValueError(
                f"{name}: expected the shape of input_ids, {tuple(input_ids_BT.shape)}, "
                f"received {tuple(tensor.shape)}: pad both with one collator, or leave it out"
            )


def take(x_BT: Tensor, packed: PackedBatch) -> Tensor:
    """The values of a padded [B, T, ...] tensor at the real tokens: [N, ...]."""
    return x_BT.flatten(0, 1)[packed.index_N]


def unpack(x_ND: Tensor, packed: PackedBatch, fill: float = 0.0) -> Tensor:
    """Puts packed values [N, ...] back where they were: [B, T, ...], with `fill` at pad positions."""
    rows, width = packed.padded_shape
    flat = x_ND.new_full((rows * width, *x_ND.shape[1:]), fill)
    return flat.index_copy_(0, packed.index_N, x_ND).view(rows, width, *x_ND.shape[1:])  # no third copy of logits


class _Select(torch.autograd.Function):
    """`x[index]` for an index without repeats: the gradient is a copy, where `index_select` would add row by row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.num_rows = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.num_rows, *grad.shape[1:]).index_copy_(0, index, grad), None


class _Spread(torch.autograd.Function):
    """`x[source]` where `source` repeats rows at slots that nobody reads: the gradient is read at `slot` alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return x.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        return grad.index_select(0, slot), None, None


def select_rows(x: Tensor, index: Tensor) -> Tensor:
    """Some rows of a tensor, with a gradient that is copied and not added up.

    Args:
        x: [N, ...].
        index: int64 [R], row numbers below N, none twice.

    Returns:
        [R, ...], row r being `x[index[r]]`.
    """
    selected: Tensor = _Select.apply(x, index)  # type: ignore[no-untyped-call]
    return selected


def spread_rows(x: Tensor, source: Tensor, slot: Tensor) -> Tensor:
    """Rows laid out over more slots than there are rows; what the spare ones hold is read by nobody.

    Args:
        x: [N, ...].
        source: int64 [slots], the row of `x` that each slot gets; any row at a spare slot.
        slot: int64 [N], the slot of each row: `source[slot[n]] == n`. The gradient is read there alone.

    Returns:
        [slots, ...].
    """
    spread: Tensor = _Spread.apply(x, source, slot)  # type: ignore[no-untyped-call]
    return spread
