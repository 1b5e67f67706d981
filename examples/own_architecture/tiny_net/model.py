"""Two convolutions with BatchNorm, one of them halving the image, and a linear layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TinyNet", "tiny_net"]


class TinyNet(nn.Module):
    """x [N, 3, H, W] -> logits [N, num_classes]."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.first(x)))
        x = F.relu(self.bn2(self.second(x)))
        return self.head(x.mean((2, 3)))


def tiny_net(width: int, num_classes: int = 10) -> TinyNet:
    """The network, freshly initialised; called with the Architecture's arguments and num_classes."""
    return TinyNet(width, num_classes)
