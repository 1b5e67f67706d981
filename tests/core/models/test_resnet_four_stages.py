from __future__ import annotations

import pytest
import timm
from torch import nn
from torchvision import models

from lastsam_core.models.resnet_four_stages import resnet_four_stages
from tests.core.models.oracle import assert_same_function


@pytest.mark.parametrize("depth", [18, 101])
def test_for_imagenet_it_is_torchvisions(depth: int) -> None:
    found = assert_same_function(models.get_model(f"resnet{depth}", weights=None, num_classes=7), side=64)

    assert (found.arch, found.convention, found.num_classes) == (f"resnet{depth}-imagenet", "torchvision", 7)


def test_for_imagenet_it_is_timms() -> None:
    assert assert_same_function(timm.create_model("resnet34", num_classes=7), side=64).arch == "resnet34-imagenet"


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("pool", [False, True])
def test_for_cifar_it_is_torchvisions_with_another_stem(depth: int, pool: bool) -> None:
    theirs = models.get_model(f"resnet{depth}", weights=None, num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    if not pool:
        theirs.maxpool = nn.Identity()
    name = f"resnet{depth}-cifar"

    found = assert_same_function(theirs, f"{name}-maxpool" if pool else name, side=16)

    assert found.convention == "torchvision"


def test_only_five_depths_exist() -> None:
    with pytest.raises(ValueError, match="18, 34, 50, 101, 152"):
        resnet_four_stages(20)
