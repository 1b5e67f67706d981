"""Models with nothing left at its initial value, so that a wrong place for any tensor shows in the output."""

from __future__ import annotations

import torch
from torch import nn


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
        elif value.dim() >= 2:
            fan_in = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return model.eval()
