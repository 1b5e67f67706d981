"""EfficientNet-B0 to B7, torchvision's own code and names.

Tan and Le 2019 (arXiv:1905.11946). torchvision is imported when one is built; the worker extra has it.
"""

from __future__ import annotations

from torch import nn

__all__ = ["efficientnet"]


def efficientnet(size: int, num_classes: int = 10) -> nn.Module:
    """x [N, 3, H, W] -> logits [N, num_classes], freshly initialised; size 0 to 7, ValueError for any other."""
    from torchvision import models

    if not 0 <= size <= 7:
        raise ValueError(f"EfficientNet has sizes B0 to B7, not B{size}")
    return models.get_model(f"efficientnet_b{size}", weights=None, num_classes=num_classes)
