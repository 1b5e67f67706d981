"""Each architecture once forward and back, on two images as small as it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lastsam_core.models import ARCHITECTURES, Architecture, create_model
from tests.core.models.oracle import some_images


def side_of(known: Architecture) -> int:
    if known.family == "vgg" or known.image_size > 32:
        return 32
    return 16 if known.name.endswith("maxpool") else 8


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_learns_with_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=7)
    images = some_images(2, side_of(ARCHITECTURES[name]))

    out = model(images)
    F.cross_entropy(out, torch.tensor([1, 2])).backward()

    assert out.shape == (2, 7)
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
