"""The wide ResNets WRN-d-k: pre-activation blocks of B(3,3) on 16k, 32k and 64k channels, depth 6n + 4.

Zagoruyko and Komodakis 2016 (arXiv:1605.07146), without dropout. The variant is that of the authors' Torch code, of
xternalz's port and of pytorchcv: in a block that changes the shape both the residual branch and the 1x1 shortcut
read ReLU(BN(x)), and the first convolution carries the stride; in every other block the shortcut is x itself.
meliketoy's port (shortcut from the raw x, stride on the second convolution) is another function with equal shapes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WideResNet", "wide_resnet"]


class WideBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv plus the shortcut; 1x1 `shortcut` only where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        changes = stride != 1 or channels_in != channels
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` a stage, so depth = 6 blocks + 4."""

    def __init__(self, *, blocks: int, widen: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(16, 16 * widen, blocks, 1)
        self.layer2 = _stage(16 * widen, 32 * widen, blocks, 2)
        self.layer3 = _stage(32 * widen, 64 * widen, blocks, 2)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = WideBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(WideBlock(channels, channels, 1) for _ in range(blocks - 1)))


def wide_resnet(depth: int, widen: int, num_classes: int = 10) -> WideResNet:
    """WRN-depth-widen (28-10, 16-8, ...); ValueError where depth is not 6n + 4."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"a wide ResNet has 6n + 4 layers, not {depth}")
    return WideResNet(blocks=(depth - 4) // 6, widen=widen, num_classes=num_classes)
