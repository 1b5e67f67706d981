"""Pre-activation ResNet-18 and 34 for images of 32 pixels: four stages of basic blocks, BatchNorm and ReLU first.

He et al. 2016 (arXiv:1603.05027), as in kuangliu's port, which pools what the last block gives; the papers on
adversarial training and on sharpness that took it over (Rice et al. 2020, Andriushchenko and Flammarion 2022) put
BatchNorm and ReLU before the pooling, as the original has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lastsam_core.models.wide_resnet import WideBlock

__all__ = ["PreActResNet", "preact_resnet"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class PreActResNet(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes]; `blocks` of each stage; `final_norm`: BatchNorm-ReLU at the end."""

    def __init__(self, *, blocks: Sequence[int], final_norm: bool, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        channels_in = 64
        for number, count in enumerate(blocks):
            layers: list[nn.Module] = []
            for index in range(count):
                channels, stride = 64 << number, 2 if number and not index else 1
                kind = {"raw_shortcut": False, "stride_second": False, "bias": False}
                layers.append(WideBlock(channels_in, channels, stride, **kind))
                channels_in = channels
            self.add_module(f"layer{number + 1}", nn.Sequential(*layers))
        self.bn = nn.BatchNorm2d(channels_in) if final_norm else None
        self.fc = nn.Linear(channels_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        if self.bn is not None:
            x = F.relu(self.bn(x))
        return self.fc(x.mean((2, 3)))


def preact_resnet(depth: int, final_norm: bool = False, num_classes: int = 10) -> PreActResNet:
    """Pre-activation ResNet-18 or 34; ValueError for any other depth."""
    if depth not in BLOCKS:
        raise ValueError(
            f"the pre-activation ResNets known here have {', '.join(map(str, BLOCKS))} layers, not {depth}"
        )
    return PreActResNet(blocks=BLOCKS[depth], final_norm=final_norm, num_classes=num_classes)
