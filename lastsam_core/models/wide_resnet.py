"""The wide ResNets WRN-d-k: pre-activation blocks of B(3,3) on 16k, 32k and 64k channels, depth 6n + 4.

Zagoruyko and Komodakis 2016 (arXiv:1605.07146), without dropout. In a block that changes the shape, four functions of
(almost) equal tensors are in use:

- the authors' Torch code, xternalz, davda54 and pytorchcv: both the residual branch and the 1x1 shortcut read
  ReLU(BN(x)), and the first convolution carries the stride;
- homura, with which the ASAM paper's code trains: the shortcut reads the raw x;
- homura before 2021 and others: besides, the second convolution carries the stride;
- meliketoy and fast-autoaugment: besides, every convolution has a bias. (Their BatchNorm averages with momentum 0.9;
  here, where only statistics are at stake, it is torch's 0.1.)

In every other block the shortcut is x itself.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WideResNet", "wide_resnet"]


class WideBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv plus the shortcut; 1x1 `shortcut` only where the shape changes."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, *, raw_shortcut: bool, stride_second: bool, bias: bool
    ) -> None:
        super().__init__()
        first, second = (1, stride) if stride_second else (stride, 1)
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=first, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=second, padding=1, bias=bias)
        changes = stride != 1 or channels_in != channels
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=bias) if changes else None
        self.raw_shortcut = raw_shortcut

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(x if self.raw_shortcut else active))


class WideResNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` a stage, so depth = 6 blocks + 4.

    `raw_shortcut`: 1x1 shortcuts read x, not ReLU(BN(x)); `stride_second`: the second convolution of a block carries
    its stride; `bias`: convolutions have one.
    """

    def __init__(
        self,
        *,
        blocks: int,
        widen: int,
        raw_shortcut: bool = False,
        stride_second: bool = False,
        bias: bool = False,
        num_classes: int = 10,
    ) -> None:
        super().__init__()

        def stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
            shapes = [(channels_in, channels, stride), *[(channels, channels, 1)] * (blocks - 1)]
            kind = {"raw_shortcut": raw_shortcut, "stride_second": stride_second, "bias": bias}
            return nn.Sequential(*(WideBlock(*shape, **kind) for shape in shapes))

        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=bias)
        self.layer1 = stage(16, 16 * widen, 1)
        self.layer2 = stage(16 * widen, 32 * widen, 2)
        self.layer3 = stage(32 * widen, 64 * widen, 2)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def wide_resnet(
    depth: int,
    widen: int,
    raw_shortcut: bool = False,
    stride_second: bool = False,
    bias: bool = False,
    num_classes: int = 10,
) -> WideResNet:
    """WRN-depth-widen (28-10, 16-8, ...); ValueError where depth is not 6n + 4."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"a wide ResNet has 6n + 4 layers, not {depth}")
    return WideResNet(
        blocks=(depth - 4) // 6,
        widen=widen,
        raw_shortcut=raw_shortcut,
        stride_second=stride_second,
        bias=bias,
        num_classes=num_classes,
    )
