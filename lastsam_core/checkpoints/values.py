"""Whether a tensor's numbers are usable, read off its bytes in pieces and without torch."""

from __future__ import annotations

import numpy as np

from lastsam_core.checkpoints.tensors import FLOATS, RawTensor

__all__ = ["all_finite", "any_negative"]

CHUNK = 1 << 22


def all_finite(tensor: RawTensor) -> bool:
    """No NaN and nothing beyond the range of float32, in which training happens; true of whole numbers."""
    if tensor.dtype not in FLOATS:
        return True
    if tensor.dtype == "bfloat16":  # numpy has none: NaN and infinity are what has all eight exponent bits set
        bits = np.frombuffer(tensor.data, dtype="<u2")
        return all(((bits[at : at + CHUNK] & 0x7F80) != 0x7F80).all() for at in range(0, len(bits), CHUNK))
    values = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    # float64 weights are trained as float32, so they have to be finite there; a NaN fails the comparison as well.
    largest = np.finfo(np.float16 if tensor.dtype == "float16" else np.float32).max
    return all((np.abs(values[at : at + CHUNK]) <= largest).all() for at in range(0, len(values), CHUNK))


def any_negative(tensor: RawTensor) -> bool:
    """Whether a number is below zero; -0 is not."""
    if tensor.dtype == "bfloat16":
        bits = np.frombuffer(tensor.data, dtype="<u2")
        return bool((bits > 0x8000).any())
    values = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    return bool((values < 0).any())
