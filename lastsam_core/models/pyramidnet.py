"""PyramidNet for CIFAR: pre-activation bottlenecks whose width grows a little with each block, depth 9n + 2.

Han et al. 2017 (arXiv:1610.02915), as in dyhan0920's port, fast-autoaugment and pytorchcv: block k of K has
round(16 + k alpha / K) channels inside and four times as many outside; shortcuts have no parameters (average-pooling,
new channels zero, behind the old ones). With ShakeDrop (Yamada et al. 2018) block k is kept with probability
1 - k / (2K); a checkpoint has the same tensors with and without, but evaluates differently.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lastsam_core.models.shake import ShakeDrop

__all__ = ["PyramidNet", "pyramidnet"]

LAST_KEPT = 0.5


class PyramidBlock(nn.Module):
    """BN-conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN plus the padded shortcut; no ReLU at either end."""

    def __init__(self, channels_in: int, inner: int, stride: int, keep: float | None) -> None:
        super().__init__()
        channels = 4 * inner
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn4 = nn.BatchNorm2d(channels)
        self.shake: nn.Module = nn.Identity() if keep is None else ShakeDrop(keep)
        self.stride = stride
        self.added = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.bn4(self.conv3(F.relu(self.bn3(out))))
        if self.stride != 1:
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        return self.shake(out) + F.pad(x, (0, 0, 0, 0, 0, self.added))


class PyramidNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` a stage, so depth = 9 blocks + 2."""

    def __init__(self, *, blocks: int, alpha: int, shakedrop: bool = False, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        total, channels = 3 * blocks, 16
        layers: list[nn.Module] = []
        for number in range(1, total + 1):
            inner = round(16 + number * alpha / total)
            stride = 2 if number in (blocks + 1, 2 * blocks + 1) else 1
            keep = 1 - (1 - LAST_KEPT) * number / total if shakedrop else None
            layers.append(PyramidBlock(channels, inner, stride, keep))
            channels = 4 * inner
        self.layer1 = nn.Sequential(*layers[:blocks])
        self.layer2 = nn.Sequential(*layers[blocks : 2 * blocks])
        self.layer3 = nn.Sequential(*layers[2 * blocks :])
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def pyramidnet(depth: int, alpha: int, shakedrop: bool = False, num_classes: int = 10) -> PyramidNet:
    """PyramidNet-depth of widening alpha (272, 200); ValueError where depth is not 9n + 2."""
    if depth < 11 or (depth - 2) % 9:
        raise ValueError(f"a PyramidNet of bottlenecks has 9n + 2 layers, not {depth}")
    return PyramidNet(blocks=(depth - 2) // 9, alpha=alpha, shakedrop=shakedrop, num_classes=num_classes)
