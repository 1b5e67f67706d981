from __future__ import annotations

import pytest
import timm
import torch
from torchvision import models

from lastsam_core.models.efficientnet import efficientnet
from tests.core.models.oracle import assert_same_function, recognised


def test_timms_b0_is_the_same_function() -> None:
    found = assert_same_function(timm.create_model("efficientnet_b0", num_classes=7), side=64)

    assert (found.arch, found.convention, found.num_classes) == ("efficientnet-b0", "timm", 7)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_timms_names_are_understood(size: int) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(f"efficientnet_b{size}", num_classes=7)

    found = recognised(theirs)

    assert (found.arch, found.convention) == (f"efficientnet-b{size}", "timm")
    epsilons = {module.eps for module in theirs.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    with torch.device("meta"):
        ours = efficientnet(size)
    assert epsilons == {module.eps for module in ours.modules() if isinstance(module, torch.nn.BatchNorm2d)}


def test_torchvisions_own_names_are_ours() -> None:
    with torch.device("meta"):
        theirs = models.get_model("efficientnet_b3", weights=None, num_classes=10)

    assert recognised(theirs).arch == "efficientnet-b3"


def test_only_eight_sizes_exist() -> None:
    with pytest.raises(ValueError, match="B0 to B7"):
        efficientnet(8)
