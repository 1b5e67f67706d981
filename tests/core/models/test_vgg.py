from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision import models

from lastsam_core.models import create_model
from lastsam_core.models.vgg import VGG, vgg
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_the_convolutions_are_torchvisions(depth: int) -> None:
    with torch.device("meta"):
        theirs = models.get_model(f"vgg{depth}_bn", weights=None).features
        ours = vgg(depth).features

    assert list(map(_told, ours)) == list(map(_told, theirs))


def test_one_linear_layer_reads_the_last_pixel() -> None:
    model = randomise(vgg(11))
    images = some_images()
    with torch.no_grad():
        features = model.get_submodule("features")(images)
        assert features.shape == (2, 512, 1, 1)
        torch.testing.assert_close(model(images), model.get_submodule("fc")(features.flatten(1)))


@pytest.mark.parametrize(
    ("name", "dropped"),
    [("vgg16bn-chenyaofo", (1, 2)), ("vgg16bn-chengyangfu", (0, 1)), ("vgg16bn-weiaicunzai", (1,)), ("vgg16bn", ())],
)
def test_dropout_is_where_the_repository_has_it(name: str, dropped: tuple[int, ...]) -> None:
    model = create_model(name)
    assert isinstance(model, VGG)
    model.features.eval()
    images = some_images()
    with torch.no_grad():
        torch.manual_seed(5)
        out = model(images)
        torch.manual_seed(5)
        x = model.features(images).flatten(1)
        for at, layer in enumerate((model.fc1, model.fc2, model.fc)):
            if layer is not None:
                x = layer(F.dropout(x, 0.5) if at in dropped else x)
                x = x if layer is model.fc else F.relu(x)
        torch.testing.assert_close(out, x)
        assert torch.equal(model.eval()(images), model(images))


def test_only_four_depths_exist() -> None:
    with pytest.raises(ValueError, match="11, 13, 16, 19"):
        vgg(12)


def _told(layer: torch.nn.Module) -> str:
    """What it is, whatever it writes over."""
    return repr(layer).replace("inplace=True", "")
