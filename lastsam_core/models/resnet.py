"""The CIFAR ResNets: three stages of basic blocks on 16, 32 and 64 channels, depth 6n + 2.

He et al. 2016, sec. 4.2 (arXiv:1512.03385). Where a stage halves the image, shortcut "a" is parameter-free (every
second pixel, new channels zero, half of them on either side as the widely used checkpoints of akamaster have it);
shortcut "b" is a 1x1 convolution with BatchNorm.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CifarResNet", "resnet"]


class SubsamplePad(nn.Module):
    """Shortcut "a": x [N, C, H, W] -> [N, 2C, H/2, W/2], the C new channels zero."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, added to the shortcut, then ReLU (He et al. 2016, fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: Literal["a", "b"]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 and shortcut == "a":
            self.shortcut = SubsamplePad()
        elif stride != 1:
            projection = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` a stage, so depth = 6 blocks + 2."""

    def __init__(self, *, blocks: int, shortcut: Literal["a", "b"], num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1, shortcut)
        self.layer2 = _stage(16, 32, blocks, 2, shortcut)
        self.layer3 = _stage(32, 64, blocks, 2, shortcut)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def _stage(channels_in: int, channels: int, blocks: int, stride: int, shortcut: Literal["a", "b"]) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def resnet(depth: int, shortcut: Literal["a", "b"], num_classes: int = 10) -> CifarResNet:
    """The ResNet of so many layers (20, 32, 44, 56, ...); ValueError where depth is not 6n + 2."""
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"a CIFAR ResNet has 6n + 2 layers, not {depth}")
    return CifarResNet(blocks=(depth - 2) // 6, shortcut=shortcut, num_classes=num_classes)
