"""VGG with BatchNorm for images of 32 pixels: 3x3 convolutions in five stages, each closed by a max-pooling.

Simonyan and Zisserman 2015 (arXiv:1409.1556), configurations A, B, D and E. What follows the last stage differs between
repositories: kuangliu has one linear layer, chenyaofo and chengyangfu three of width 512 with dropout in different
places, weiaicunzai three of width 4096. Which of them the ASAM paper's VGG19-BN was, it does not say.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["VGG", "vgg"]

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """x [N, 3, 32, 32] -> logits [N, num_classes].

    `convolutions` a stage. `hidden`: width of the two linear layers before the last, None for no such layers;
    `dropout`: before which of the linear layers 0, 1 and 2 half of the features are dropped in training.
    """

    def __init__(
        self,
        *,
        convolutions: Sequence[int],
        hidden: int | None = None,
        dropout: Sequence[int] = (),
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for channels, count in zip(CHANNELS, convolutions, strict=True):
            for _ in range(count):
                convolution = nn.Conv2d(channels_in, channels, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
                channels_in = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(channels_in, hidden) if hidden else None
        self.fc2 = nn.Linear(hidden, hidden) if hidden else None
        self.fc = nn.Linear(hidden or channels_in, num_classes)
        self.dropout = tuple(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))
        if self.fc1 is not None and self.fc2 is not None:
            x = F.relu(self.fc1(self._drop(x, 0)))
            x = F.relu(self.fc2(self._drop(x, 1)))
        return self.fc(self._drop(x, 2))

    def _drop(self, x: Tensor, layer: int) -> Tensor:
        return F.dropout(x, 0.5, self.training) if layer in self.dropout else x


def vgg(depth: int, hidden: int | None = None, dropout: Sequence[int] = (), num_classes: int = 10) -> VGG:
    """VGG-11, 13, 16 or 19 with BatchNorm; ValueError for any other depth."""
    if depth not in CONVOLUTIONS:
        raise ValueError(f"VGG has {', '.join(map(str, CONVOLUTIONS))} layers, not {depth}")
    return VGG(convolutions=CONVOLUTIONS[depth], hidden=hidden, dropout=dropout, num_classes=num_classes)
