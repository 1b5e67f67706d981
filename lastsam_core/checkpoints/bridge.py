"""Between a tensor's bytes and torch's tensors; the one place where both are known."""

from __future__ import annotations

import torch
from torch import Tensor

from lastsam_core.checkpoints.tensors import RawTensor

__all__ = ["from_torch", "to_torch"]


def to_torch(raw: RawTensor) -> Tensor:
    """The tensor on the CPU, in memory of its own."""
    dtype = getattr(torch, raw.dtype)
    if not len(raw.data):
        return torch.empty(raw.shape, dtype=dtype)
    return torch.frombuffer(bytearray(raw.data), dtype=dtype).reshape(raw.shape)


def from_torch(tensor: Tensor) -> RawTensor:
    """The tensor's bytes, in C order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return RawTensor(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        data=memoryview(flat.view(torch.uint8).numpy().tobytes()),
    )
