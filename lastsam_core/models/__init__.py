"""The networks that checkpoints can belong to: what they are called, how they are built, what their tensors look like.

Importing this package does not import torch. Other packages bring their own networks with entry points (plugins.py).
"""

from __future__ import annotations

from lastsam_core.models.plugins import plugin_problems
from lastsam_core.models.registry import (
    ARCHITECTURES,
    Architecture,
    architecture,
    create_model,
    head_weight,
    tensor_shapes,
)

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "create_model",
    "head_weight",
    "plugin_problems",
    "tensor_shapes",
]
