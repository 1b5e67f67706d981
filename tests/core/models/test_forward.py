"""One of each kind of network forward and back, on two images as small as it takes; test_registry has all forward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lastsam_core.models import ARCHITECTURES, Architecture, create_model
from tests.core.models.oracle import some_images

LARGE = (
    "vgg11bn-chenyaofo", "densenet121-cifar", "resnet18-cifar-maxpool", "resnet50-imagenet",
    "preactresnet18-cifar-norm", "wrn-28-10-meliketoy", "pyramidnet272-a200-shakedrop",
    "shakeshake26-2x96d",
)  # fmt: skip
LEARNING = [name for name, known in ARCHITECTURES.items() if known.parameters < 5_000_000 or name in LARGE]


def side_of(known: Architecture) -> int:
    if known.family == "vgg" or known.image_size > 32:
        return 32
    return 16 if known.name.endswith("maxpool") else 8


@pytest.mark.parametrize("name", LEARNING)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)

    F.cross_entropy(model(some_images(2, side_of(ARCHITECTURES[name]))), torch.tensor([1, 2])).backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
