"""Checkpoints as models: what library users and the trainer load with (needs torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lastsam_core.checkpoints.bridge import to_torch
from lastsam_core.checkpoints.canonical import canonicalise
from lastsam_core.checkpoints.layout import Layout
from lastsam_core.checkpoints.read import read_checkpoint_file
from lastsam_core.models.registry import create_model

__all__ = ["LoadedCheckpoint", "load_canonical", "load_checkpoint", "load_into"]


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A model with a checkpoint's weights."""

    model: nn.Module
    """float32, on the CPU, in evaluation mode."""
    layout: Layout
    """How the file had them; give it to save_checkpoint to write the same way."""
    notes: tuple[str, ...]
    """Sentences worth showing to the user."""


def load_checkpoint(path: Path | str, arch: str = "auto", num_classes: int | None = None) -> LoadedCheckpoint:
    """The model that the file's weights belong to, with them in it.

    Any file that the service accepts, without running anything from it; a CoreError with a hint for every other.
    """
    checkpoint = canonicalise(read_checkpoint_file(path), arch, num_classes)
    layout = checkpoint.layout
    model = create_model(layout.arch, num_classes=layout.num_classes)
    load_into(model, {name: to_torch(raw) for name, raw in checkpoint.tensors.items()})
    return LoadedCheckpoint(model=model.eval(), layout=layout, notes=checkpoint.notes)


def load_canonical(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a canonical safetensors file, dtypes as stored, in the file's order of names."""
    return {name: to_torch(raw) for name, raw in read_checkpoint_file(path).tensors.items()}


def load_into(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copies canonical tensors into the model, strictly; only num_batches_tracked may be missing and is then 0."""
    absent = [name for name in model.state_dict() if name.endswith("num_batches_tracked") and name not in state]
    model.load_state_dict({**state, **{name: torch.tensor(0) for name in absent}}, strict=True)
