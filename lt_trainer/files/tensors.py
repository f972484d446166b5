"""Tensors to safetensors bytes, one at a time: no second copy of a state is ever made.

The library's own writer neither syncs, nor hashes, nor lets the umask choose permissions. Files from here equal its
files byte for byte.

Source: https://github.com/huggingface/safetensors (the format), read from its documentation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
"""Names in a header, narrowest first; a file holds tensors from the last of these to the first, then by name."""

NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}


def layout(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names in the order in which a file holds them.

    Raises:
        ValueError: a tensor that the format cannot hold; the message names it.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES or tensor.layout is not torch.strided or tensor.is_meta:
            raise ValueError(
                f"Tensor {name!r} is {tensor.dtype}, {tensor.layout}, on {tensor.device}: safetensors holds dense "
                f"tensors of {', '.join(str(dtype) for dtype in NAMES)}. Convert it before saving."
            )
    return sorted(tensors, key=lambda name: (-_RANK[tensors[name].dtype], name))


def header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The length and the JSON that stand before the values, padded so that they begin at a multiple of eight."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in layout(tensors):
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def bytes_of(tensor: Tensor) -> memoryview:
    """The values of a tensor, row after row, without a copy where it is contiguous and on the CPU.

    Args:
        tensor: any shape, any dtype of `DTYPES`, any device.
    """
    flat = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def plan_shards(tensors: Mapping[str, Tensor], max_bytes: int) -> dict[str, list[str]]:
    """File name -> tensor names, filled in order; a tensor larger than `max_bytes` gets a file of its own.

    Args:
        tensors: name -> tensor.
        max_bytes: the size of a file's values, in bytes.
    """
    groups: list[list[str]] = [[]]
    used = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if groups[-1] and used + size > max_bytes:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{i:05d}-of-{len(groups):05d}.safetensors": group for i, group in enumerate(groups, start=1)}
