"""Each architecture forward, and one of each kind back, on two images as small as it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lastsam_core.models import ARCHITECTURES, Architecture, create_model
from tests.core.models.oracle import some_images

LARGE = ("wrn-28-10", "wrn-28-10-meliketoy", "pyramidnet272-a200-shakedrop", "shakeshake26-2x96d", "resnet50-cifar")
LEARNING = [name for name, known in ARCHITECTURES.items() if known.parameters < 12_000_000 or name in LARGE]


def side_of(known: Architecture) -> int:
    if known.family == "vgg" or known.image_size > 32:
        return 32
    return 16 if known.name.endswith("maxpool") else 8


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_its_own_image_size(name: str) -> None:
    side = ARCHITECTURES[name].image_size
    with torch.device("meta"):
        out = create_model(name, num_classes=7)(torch.empty(2, 3, side, side))

    assert out.shape == (2, 7)


@pytest.mark.parametrize("name", LEARNING)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)

    F.cross_entropy(model(some_images(2, side_of(ARCHITECTURES[name]))), torch.tensor([1, 2])).backward()

    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
