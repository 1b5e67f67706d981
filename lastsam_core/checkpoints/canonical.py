"""A checkpoint file under this project's own names, with its values checked: what may go on to a trainer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lastsam_core.checkpoints.layout import Layout, TensorEntry
from lastsam_core.checkpoints.read import RawCheckpoint
from lastsam_core.checkpoints.recognise import recognise
from lastsam_core.checkpoints.tensors import FLOATS, RawTensor
from lastsam_core.errors import CheckpointError, NonFiniteCheckpoint
from lastsam_core.models.registry import tensor_shapes

__all__ = ["CanonicalCheckpoint", "canonicalise"]

CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class CanonicalCheckpoint:
    """Recognised, checked weights."""

    layout: Layout
    """How the file had them."""
    tensors: dict[str, RawTensor]
    """Canonical key -> tensor, in the model's order, dtypes as stored."""
    notes: tuple[str, ...]
    """Sentences worth showing to the user."""


def canonicalise(raw: RawCheckpoint, arch: str = "auto", num_classes: int | None = None) -> CanonicalCheckpoint:
    """The checkpoint as what it was recognised to be.

    UnknownArchitecture or ArchitectureMismatch where it is not that; NonFiniteCheckpoint where weights are NaN or
    infinite; CheckpointError where they are not floating-point or a variance is negative.
    """
    found = recognise({key: tensor.shape for key, tensor in raw.tensors.items()}, arch, num_classes)
    canonical = {key: name for name, key in found.mapping.items()}
    for key, tensor in raw.tensors.items():
        _check_dtype(key, canonical[key], tensor)
    broken = [key for key, tensor in raw.tensors.items() if not _all_finite(tensor)]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise NonFiniteCheckpoint(
            f"{', '.join(broken[:3])}{more} hold NaN or numbers beyond the range of float32.",
            hint="The training that made this checkpoint diverged; take an earlier one.",
        )
    for key, tensor in raw.tensors.items():
        if canonical[key].endswith("running_var") and _any_negative(tensor):
            raise CheckpointError(f"{key} holds a negative variance.", hint="The file is damaged; save it again.")
    entries = (
        TensorEntry(key=key, canonical=canonical[key], dtype=tensor.dtype, shape=tensor.shape)
        for key, tensor in raw.tensors.items()
    )
    layout = Layout(
        container=raw.container,
        wrapper=raw.wrapper,
        kinds=raw.kinds,
        prefix=found.prefix,
        tensors=tuple(entries),
        companions=raw.companions,
        holdout_id=raw.holdout_id,
        arch=found.arch,
        num_classes=found.num_classes,
        convention=found.convention,
    )
    order = (name for name in tensor_shapes(found.arch, found.num_classes) if name in found.mapping)
    tensors = {name: raw.tensors[found.mapping[name]] for name in order}
    return CanonicalCheckpoint(layout=layout, tensors=tensors, notes=found.notes)


def _check_dtype(key: str, canonical: str, tensor: RawTensor) -> None:
    counter = canonical.endswith("num_batches_tracked")
    if counter or tensor.dtype in FLOATS:
        return
    raise CheckpointError(
        f"{key} is stored as {tensor.dtype}; weights are floating-point numbers.",
        hint="Save the unquantised weights, as float32, float16, bfloat16 or float64.",
    )


def _all_finite(tensor: RawTensor) -> bool:
    if tensor.dtype not in FLOATS:
        return True
    if tensor.dtype == "bfloat16":  # numpy has none: NaN and infinity are what has all eight exponent bits set
        bits = np.frombuffer(tensor.data, dtype="<u2")
        return all(((bits[at : at + CHUNK] & 0x7F80) != 0x7F80).all() for at in range(0, len(bits), CHUNK))
    values = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    # float64 weights are trained as float32, so they have to be finite there; a NaN fails the comparison as well.
    largest = np.finfo(np.float16 if tensor.dtype == "float16" else np.float32).max
    return all((np.abs(values[at : at + CHUNK]) <= largest).all() for at in range(0, len(values), CHUNK))


def _any_negative(tensor: RawTensor) -> bool:
    if tensor.dtype == "bfloat16":
        bits = np.frombuffer(tensor.data, dtype="<u2")
        return bool((bits > 0x8000).any())
    values = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    return bool((values < 0).any())
