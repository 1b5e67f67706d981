"""Checkpoint files: read without running anything from them, recognised, and written back as they came.

Importing this package does not import torch; what load.py and write.py offer does when it is first used
(docs/decisions/0002-checkpoints-are-read-without-torch.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lastsam_core.checkpoints.canonical import CanonicalCheckpoint, canonicalise
from lastsam_core.checkpoints.layout import Layout, OptimizerFound, TensorEntry
from lastsam_core.checkpoints.read import RawCheckpoint, read_checkpoint_file
from lastsam_core.checkpoints.recognise import Recognition, recognise
from lastsam_core.checkpoints.relabel import as_architecture

if TYPE_CHECKING:
    from lastsam_core.checkpoints.load import (
        LoadedCheckpoint,
        OptimizerState,
        assemble,
        load_canonical,
        load_checkpoint,
        load_into,
    )
    from lastsam_core.checkpoints.write import save_checkpoint

__all__ = [
    "CanonicalCheckpoint",
    "Layout",
    "LoadedCheckpoint",
    "OptimizerFound",
    "OptimizerState",
    "RawCheckpoint",
    "Recognition",
    "TensorEntry",
    "as_architecture",
    "assemble",
    "canonicalise",
    "load_canonical",
    "load_checkpoint",
    "load_into",
    "read_checkpoint_file",
    "recognise",
    "save_checkpoint",
]

_NEED_TORCH = {
    "LoadedCheckpoint": "load",
    "OptimizerState": "load",
    "assemble": "load",
    "load_canonical": "load",
    "load_checkpoint": "load",
    "load_into": "load",
    "save_checkpoint": "write",
}


def __getattr__(name: str) -> Any:
    if module := _NEED_TORCH.get(name):
        return getattr(importlib.import_module(f"lastsam_core.checkpoints.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
