"""The safetensors format, read and written as bytes, so that no torch is needed and every dtype stays what it was.

8 bytes header length, a JSON header (name -> dtype, shape, data_offsets), then the data without gaps. Written by hand
because the canonical file is written inside the box (box.py), where nothing can be opened any more.
Format: github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from lastsam_core.checkpoints.tensors import (
    ITEM_SIZES,
    MAX_DIMENSIONS,
    SAVE_HINT,
    RawTensor,
    StorageRef,
    TensorRef,
    truncated,
)
from lastsam_core.errors import CheckpointError, UnsafeCheckpoint

__all__ = ["read_safetensors", "write_safetensors"]

MAX_HEADER = 16 << 20

DTYPES = {
    "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}


def read_safetensors(data: memoryview) -> tuple[dict[str, TensorRef], memoryview]:
    """The tensors in the header's order, as views of one storage called "", and that storage."""
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER:
        raise UnsafeCheckpoint(f"The file claims a header of {size} bytes.", hint=SAVE_HINT)
    if 8 + size > len(data):
        raise truncated()
    body = data[8 + size :]
    try:
        header = json.loads(bytes(data[8 : 8 + size]), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise CheckpointError("The header of the safetensors file is damaged.", hint=SAVE_HINT) from None
    if not isinstance(header, dict):
        raise CheckpointError("The header of the safetensors file is damaged.", hint=SAVE_HINT)
    header.pop("__metadata__", None)
    refs = {name: _described(name, entry) for name, entry in header.items()}
    reached = 0
    for ref in sorted(refs.values(), key=lambda ref: (ref.storage.begin, ref.storage.size)):
        if ref.storage.begin != reached:
            raise UnsafeCheckpoint("The tensors of the safetensors file overlap or leave gaps.", hint=SAVE_HINT)
        reached += ref.storage.size
    if reached > len(body):
        raise truncated()
    if reached < len(body):
        raise UnsafeCheckpoint("The safetensors file holds bytes that belong to no tensor.", hint=SAVE_HINT)
    return refs, body


def write_safetensors(file: BinaryIO, tensors: Mapping[str, RawTensor], metadata: Mapping[str, str]) -> int:
    """Writes the tensors to the open file, wide dtypes first so that all stay aligned; returns the bytes written."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    order = sorted(tensors, key=lambda name: -ITEM_SIZES[tensors[name].dtype])
    at = 0
    for name in order:
        tensor = tensors[name]
        end = at + len(tensor.data)
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(tensors[name].data)
    return 8 + len(text) + at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _described(name: str, entry: object) -> TensorRef:
    damaged = CheckpointError(f"The safetensors file describes {name[:100]!a} wrongly.", hint=SAVE_HINT)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise damaged
    if len(shape) > MAX_DIMENSIONS or offsets[0] > offsets[1]:
        raise damaged
    dtype = DTYPES.get(code)
    if dtype is None:
        raise CheckpointError(
            f"{name[:100]!a} is stored as {code[:20]!a}, which is not supported.",
            hint="Convert the weights to float32, float16, bfloat16 or float64 before saving them.",
        )
    if math.prod(shape) * ITEM_SIZES[dtype] != offsets[1] - offsets[0]:
        raise damaged
    storage = StorageRef(key="", dtype=dtype, item=ITEM_SIZES[dtype], begin=offsets[0], size=offsets[1] - offsets[0])
    stride = tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
    return TensorRef(storage=storage, dtype=dtype, offset=0, shape=tuple(shape), stride=stride)


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)
