"""DenseNet-BC for images of 32 pixels: each layer adds `growth` channels to those it got, transitions halve both.

Huang et al. 2017 (arXiv:1608.06993): bottleneck layers of 4 growth channels, compression 1/2, a 3x3 stem of 2 growth
channels. Three layouts are in use and are different functions of equal tensors:

- DenseNet-121 (6, 12, 24, 16 layers) of kuangliu puts new channels before the old ones;
- that of weiaicunzai puts them behind, and has no ReLU in its transitions;
- the paper's own CIFAR networks, as in pytorchcv: three blocks of (depth - 4) / 6 layers, new channels behind.

The DenseNet-121 of the ASAM paper is not specified; 91.0 % with SGD, where kuangliu reports 95.0 %, suggests that it
had ImageNet's stem.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DenseNet", "densenet", "densenet_bc"]

STANDARD = {121: (6, 12, 24, 16)}


class DenseLayer(nn.Module):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3: x [N, C, H, W] -> the new channels [N, growth, H, W]."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class Transition(nn.Module):
    """BN-(ReLU)-conv1x1-average-pooling: half the channels, half the side."""

    def __init__(self, channels: int, relu: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(x)
        return F.avg_pool2d(self.conv(F.relu(x) if self.relu else x), 2)


class DenseNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks`: layers of each block.

    `new_first`: new channels come before the old ones; `relu`: transitions have one.
    """

    def __init__(
        self, *, blocks: Sequence[int], growth: int, new_first: bool = False, relu: bool = True, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.new_first = new_first
        self.blocks = len(blocks)
        channels = 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        for number, count in enumerate(blocks, 1):
            if number > 1:
                self.add_module(f"trans{number - 1}", Transition(channels, relu))
                channels //= 2
            layers = [DenseLayer(channels + growth * before, growth) for before in range(count)]
            self.add_module(f"dense{number}", nn.ModuleList(layers))
            channels += growth * count
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, self.blocks + 1):
            if number > 1:
                x = self.get_submodule(f"trans{number - 1}")(x)
            for layer in self.get_submodule(f"dense{number}").children():
                new = layer(x)
                x = torch.cat((new, x) if self.new_first else (x, new), 1)
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def densenet(
    depth: int, growth: int = 32, new_first: bool = True, relu: bool = True, num_classes: int = 10
) -> DenseNet:
    """The four-block network of that depth (121); ValueError for any other."""
    if depth not in STANDARD:
        raise ValueError(f"the DenseNets of four blocks known here have {', '.join(map(str, STANDARD))} layers")
    return DenseNet(blocks=STANDARD[depth], growth=growth, new_first=new_first, relu=relu, num_classes=num_classes)


def densenet_bc(depth: int, growth: int, num_classes: int = 10) -> DenseNet:
    """The paper's DenseNet-BC for CIFAR, of three equal blocks; ValueError where depth is not 6n + 4."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"a DenseNet-BC of three blocks has 6n + 4 layers, not {depth}")
    return DenseNet(blocks=[(depth - 4) // 6] * 3, growth=growth, num_classes=num_classes)
