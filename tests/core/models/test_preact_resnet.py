from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastsam_core.models import create_model
from lastsam_core.models.preact_resnet import preact_resnet
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise


def kuangliu(model: nn.Module, images: Tensor) -> Tensor:
    """Block by block, from the layers that the names say."""
    x = model.get_submodule("conv1")(images)
    for stage in range(1, 5):
        for block in model.get_submodule(f"layer{stage}").children():
            active = F.relu(block.get_submodule("bn1")(x))
            out = block.get_submodule("conv1")(active)
            out = block.get_submodule("conv2")(F.relu(block.get_submodule("bn2")(out)))
            projects = "shortcut.weight" in block.state_dict()
            x = out + (block.get_submodule("shortcut")(active) if projects else x)
    return x


@pytest.mark.parametrize("final_norm", [False, True])
def test_it_computes_what_the_repositories_compute(final_norm: bool) -> None:
    model = randomise(create_model("preactresnet18-cifar" + "-norm" * final_norm)).double()
    images = some_images(1, 16).double()

    with torch.no_grad():
        x = kuangliu(model, images)
        assert x.shape == (1, 512, 2, 2)
        if final_norm:
            x = F.relu(model.get_submodule("bn")(x))
        expected = model.get_submodule("fc")(F.avg_pool2d(x, 2).flatten(1))
        torch.testing.assert_close(model(images), expected)


def test_only_two_depths_exist() -> None:
    with pytest.raises(ValueError, match="18, 34"):
        preact_resnet(50)
