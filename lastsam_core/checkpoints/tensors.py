"""A tensor as a file describes it, and as bytes once the description has been checked against the file.

A description (`TensorRef`) is believed only as far as the file's own bytes carry it: nothing is allocated from a number
that the file merely claims. See docs/decisions/0002-checkpoints-are-read-without-torch.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lastsam_core.errors import CheckpointError, UnsafeCheckpoint

__all__ = ["FLOATS", "ITEM_SIZES", "RawTensor", "StorageRef", "TensorRef", "UnsupportedTensor", "materialise"]

SAVE_HINT = "Save the weights alone, torch.save(model.state_dict(), path), and use that file."

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
"""What weights may be stored in."""

ITEM_SIZES: dict[str, int] = {
    "float32": 4, "float16": 2, "bfloat16": 2, "float64": 8,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes an element, of every dtype that a tensor in a state dict may have here."""

MAX_DIMENSIONS = 8


@dataclass(frozen=True, kw_only=True)
class RawTensor:
    """A tensor's bytes: C order, little-endian, exactly numel x item size of them."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageRef:
    """A stretch of one of the file's storages, as claimed by the file."""

    key: str
    """The storage's name in the file."""
    dtype: str | None
    """Of its elements; None for untyped bytes."""
    item: int
    """Bytes an element."""
    begin: int
    """First byte, within the storage."""
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRef:
    """A strided view of a storage, as claimed by the file; offset and strides in elements."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsupportedTensor:
    """A tensor of a kind that is not read here: sparse, quantized, meta, ..."""

    kind: str


def materialise(
    refs: Mapping[str, TensorRef | UnsupportedTensor], storages: Mapping[str, memoryview]
) -> dict[str, RawTensor]:
    """Each name's bytes; CheckpointError or UnsafeCheckpoint where a tensor is not what its storage can hold.

    Tensors may share a storage if they lie side by side or are the very same view (tied weights). Partly overlapping
    ones are refused, so that all distinct views together are never larger than the file.
    """
    spans: dict[str, dict[tuple[int, int], TensorRef]] = {}
    tensors = {}
    for name, ref in refs.items():
        if isinstance(ref, UnsupportedTensor):
            raise CheckpointError(f"{name} is a {ref.kind} tensor; only dense ones can be refined.", hint=SAVE_HINT)
        begin, end = _extent(name, ref, storages)
        if end > begin:
            known = spans.setdefault(ref.storage.key, {}).setdefault((begin, end), ref)
            if (known.shape, known.stride, known.dtype) != (ref.shape, ref.stride, ref.dtype):
                raise _overlap(name)
        tensors[name] = _view(ref, storages, begin, end)
    for views in spans.values():
        ordered = sorted(views)
        for (_, end), (begin, last) in itertools.pairwise(ordered):
            if begin < end:
                raise _overlap(next(name for name, ref in refs.items() if ref is views[begin, last]))
    return tensors


def _extent(name: str, ref: TensorRef, storages: Mapping[str, memoryview]) -> tuple[int, int]:
    """The bytes of its storage that the tensor touches, after every claim about them has been checked."""
    item = ITEM_SIZES.get(ref.dtype)
    if item is None:
        raise CheckpointError(
            f"{name} is stored as {ref.dtype}, which is not supported.",
            hint="Convert the weights to float32, float16, bfloat16 or float64 before saving them.",
        )
    if len(ref.shape) != len(ref.stride) or len(ref.shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"The shape of {name} is damaged.", hint=SAVE_HINT)
    data = storages.get(ref.storage.key)
    if data is None:
        raise CheckpointError(f"The numbers of {name} are missing from the file.", hint=SAVE_HINT)
    if ref.storage.begin + ref.storage.size > len(data):
        raise UnsafeCheckpoint(
            f"{name} claims a storage of {ref.storage.size} bytes, the file holds {len(data)}.", hint=SAVE_HINT
        )
    begin = ref.storage.begin + ref.offset * item
    if 0 in ref.shape:
        return begin, begin
    reach = 1
    for stride, size in sorted((s, n) for n, s in zip(ref.shape, ref.stride, strict=True) if n > 1):
        if stride < reach:
            raise UnsafeCheckpoint(
                f"{name} repeats elements of its storage (it was expanded, not copied).",
                hint="Save contiguous tensors: {k: v.contiguous() for k, v in model.state_dict().items()}.",
            )
        reach += (size - 1) * stride
    end = begin + reach * item
    if end > ref.storage.begin + ref.storage.size:
        raise UnsafeCheckpoint(f"{name} has {ref.numel} elements, more than its storage holds.", hint=SAVE_HINT)
    return begin, end


def _view(ref: TensorRef, storages: Mapping[str, memoryview], begin: int, end: int) -> RawTensor:
    data = storages[ref.storage.key][begin:end]
    item = ITEM_SIZES[ref.dtype]
    if len(data) and not _is_contiguous(ref):
        elements = np.frombuffer(data, dtype=f"V{item}")
        view = np.lib.stride_tricks.as_strided(elements, ref.shape, [s * item for s in ref.stride], writeable=False)
        data = memoryview(view.tobytes())
    return RawTensor(dtype=ref.dtype, shape=ref.shape, data=data)


def _is_contiguous(ref: TensorRef) -> bool:
    expected = 1
    for size, stride in zip(reversed(ref.shape), reversed(ref.stride), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def truncated() -> CheckpointError:
    """What to raise where the file ends before its contents do."""
    return CheckpointError("The file ends in the middle: it is truncated.", hint="Copy or upload it again, whole.")


def _overlap(name: str) -> UnsafeCheckpoint:
    return UnsafeCheckpoint(
        f"{name} shares a part of its storage with another tensor.",
        hint="Save copies: {k: v.clone() for k, v in model.state_dict().items()}.",
    )
