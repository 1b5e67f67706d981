"""The networks that checkpoints can belong to: what they are called, how they are built, what their tensors look like.

Importing this package does not import torch.
"""

from __future__ import annotations

from lastsam_core.models.registry import (
    ARCHITECTURES,
    Architecture,
    architecture,
    create_model,
    head_weight,
    tensor_shapes,
)

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "create_model", "head_weight", "tensor_shapes"]
