"""Shake-Shake ResNets for CIFAR: two residual branches, mixed by chance in training and evenly in evaluation.

Gastaldi 2017 (arXiv:1705.07485), "Shake-Shake-Image": depth 6n + 2, stages of `width`, 2 width and 4 width channels.
Two layouts are in use and are different functions:

- owruby's port of the paper's code, also in fast-autoaugment: branches start with a ReLU, what is added to them is the
  raw input, and a convolution with a bias is the whole stem;
- that of pytorchcv: BatchNorm and ReLU in the stem, ReLU behind the sum, and half of a stage's shortcut reads pixels
  shifted the other way.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastsam_core.models.shake import shake_shake

__all__ = ["ShakeShake", "shake_shake_resnet"]

LayoutName = Literal["owruby", "pytorchcv"]


class Branch(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN on an input that is already rectified."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class Shortcut(nn.Module):
    """Two 1x1 convolutions, of the image and of the image shifted by a pixel, side by side, then BatchNorm."""

    def __init__(self, channels_in: int, channels: int, stride: int, shift: Literal[-1, 1]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels // 2, 1, stride=stride, bias=False)
        self.conv2 = nn.Conv2d(channels_in, channels // 2, 1, stride=stride, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.padding = (shift, -shift, shift, -shift)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(torch.cat((self.conv1(x), self.conv2(F.pad(x, self.padding))), 1))


class ShakeBlock(nn.Module):
    """The two branches, mixed, plus the shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int, layout: LayoutName) -> None:
        super().__init__()
        self.branch1 = Branch(channels_in, channels, stride)
        self.branch2 = Branch(channels_in, channels, stride)
        shift = -1 if layout == "owruby" else 1
        self.shortcut = Shortcut(channels_in, channels, stride, shift) if channels_in != channels else None
        self.relu_last = layout == "pytorchcv"

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        out = shake_shake(self.branch1(active), self.branch2(active), self.training)
        out = out + (x if self.shortcut is None else self.shortcut(active))
        return F.relu(out) if self.relu_last else out


class ShakeShake(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` a stage, so depth = 6 blocks + 2."""

    def __init__(self, *, blocks: int, width: int, layout: LayoutName = "owruby", num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=layout == "owruby")
        self.bn1 = nn.BatchNorm2d(16) if layout == "pytorchcv" else None
        self.layer1 = _stage(16, width, blocks, 1, layout)
        self.layer2 = _stage(width, 2 * width, blocks, 2, layout)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2, layout)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.bn1 is not None:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.relu(x).mean((2, 3)))


def _stage(channels_in: int, channels: int, blocks: int, stride: int, layout: LayoutName) -> nn.Sequential:
    first = ShakeBlock(channels_in, channels, stride, layout)
    return nn.Sequential(first, *(ShakeBlock(channels, channels, 1, layout) for _ in range(blocks - 1)))


def shake_shake_resnet(depth: int, width: int, layout: LayoutName = "owruby", num_classes: int = 10) -> ShakeShake:
    """Shake-Shake-depth 2 x width d (26, 96); ValueError where depth is not 6n + 2."""
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"a Shake-Shake ResNet has 6n + 2 layers, not {depth}")
    return ShakeShake(blocks=(depth - 2) // 6, width=width, layout=layout, num_classes=num_classes)
