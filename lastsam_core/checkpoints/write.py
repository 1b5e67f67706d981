"""Checkpoints as files: refined weights in the very layout they were uploaded in, or as plain safetensors or .pt.

Everything written loads with torch.load(weights_only=True), and appears under its name only when complete.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from lastsam_core.checkpoints.bridge import from_torch
from lastsam_core.checkpoints.layout import Layout
from lastsam_core.checkpoints.legacy import write_legacy
from lastsam_core.checkpoints.safetensors_file import write_safetensors
from lastsam_core.errors import NonFiniteCheckpoint

__all__ = ["Format", "save_checkpoint"]

Format = Literal["original", "safetensors", "pt"]


def save_checkpoint(
    state_dict: Mapping[str, Tensor],
    path: Path | str,
    *,
    layout: Layout | None = None,
    format: Format = "original",
    note: Mapping[str, Any] | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
    epoch: int | None = None,
) -> None:
    """Writes canonical tensors to `path`.

    "original": container, wrapper, prefix, names, order and dtypes of `layout`, so it has to be given; BatchNorm's
    counters only if the upload had them; companions (optimizer, epoch, old accuracy) are not carried over. A wrapping
    dictionary gains a "lastsam" entry with the note, a bare state dict gains nothing. "safetensors": canonical names,
    the note in the metadata. "pt": {"state_dict": canonical, "lastsam": note}, and
    with them "optimizer" and "epoch" where they are given: an optimizer's state_dict() and the epochs behind it, from
    which a phase with optimizer.state "checkpoint" continues.

    `note` is JSON-able. NonFiniteCheckpoint where a weight is NaN or infinite in the dtype it is to be stored in.
    """
    if format != "pt" and (optimizer_state is not None or epoch is not None):
        raise ValueError('only the format "pt" has a place for the optimizer\'s state and the epoch')
    target = Path(path)
    if format == "original":
        if layout is None:
            raise ValueError('the format "original" needs the layout of the original')
        tensors = _as_uploaded(state_dict, layout)
    else:
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state_dict.items()}
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise NonFiniteCheckpoint(
            f"{', '.join(broken[:3])} would be stored as NaN or infinite numbers.",
            hint="The weights diverged, or do not fit the dtype of the original: use the format safetensors.",
        )
    if format == "safetensors" or (format == "original" and layout is not None and layout.container == "safetensors"):
        metadata = {"format": "pt"} | ({} if note is None else {"lastsam": json.dumps(note)})
        with _Appearing(target) as file:
            write_safetensors(file, {key: from_torch(value) for key, value in tensors.items()}, metadata)
        return
    plain = None if note is None else json.loads(json.dumps(note))
    if format == "original" and layout is not None:
        value = _wrapped(tensors, layout, plain)
        write = write_legacy if layout.container == "legacy" else torch.save
    else:
        optional = {"optimizer": _on_cpu(optimizer_state), "epoch": epoch, "lastsam": plain}
        value = {"state_dict": tensors} | {name: part for name, part in optional.items() if part is not None}
        write = torch.save
    with _Appearing(target) as file:
        write(value, file)


def _as_uploaded(state_dict: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    tensors = {name: torch.tensor(value, dtype=torch.int64) for name, value in layout.counters.items()}
    for entry in layout.tensors:
        value = state_dict.get(entry.canonical)
        if value is None:
            raise ValueError(f"the weights to save lack {entry.canonical}")
        if tuple(value.shape) != entry.shape:
            raise ValueError(f"{entry.canonical} is {list(value.shape)}, the original has {list(entry.shape)}")
        tensors[entry.key] = value.detach().to("cpu", getattr(torch, entry.dtype)).contiguous().clone()
    return tensors


def _on_cpu(value: Any) -> Any:
    """The same, with every tensor copied to the CPU; dictionaries and lists as plain ones."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(part) for part in value)
    return value


def _wrapped(tensors: dict[str, Tensor], layout: Layout, note: object) -> object:
    value: dict[str, Any] = _dictionary(layout.kinds[-1], tensors)
    for depth in reversed(range(len(layout.wrapper))):
        value = _dictionary(layout.kinds[depth], {layout.wrapper[depth]: value})
    if layout.wrapper and note is not None:
        value["lastsam"] = note
    return value


def _dictionary(kind: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return OrderedDict(items) if kind == "OrderedDict" else dict(items)


class _Appearing:
    """A file that is written beside its name and takes the name only once it is complete and on the disk."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.hidden = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")

    def __enter__(self) -> BinaryIO:
        self.file = open(self.hidden, "xb")
        return self.file

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
            self.file.close()
            if kind is None:
                os.replace(self.hidden, self.target)
                _sync_directory(self.target.parent)
        finally:
            self.hidden.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
