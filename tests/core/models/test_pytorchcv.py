"""Each of pytorchcv's networks that is known here: recognised from its own names, and the same function."""

from __future__ import annotations

import pytest
import torch
from pytorchcv.model_provider import get_model
from pytorchcv.models.pyramidnet_cifar import get_pyramidnet_cifar

from lastsam_core.models import ARCHITECTURES
from lastsam_core.models.pyramidnet import pyramidnet
from tests.core.models.oracle import assert_agree, assert_same_function, recognised
from tests.core.models.randomise import randomise

CIFAR = {
    "resnet20_cifar10": "resnet20-b",
    "resnet56_cifar10": "resnet56-b",
    "resnet110_cifar10": "resnet110-b",
    "densenet40_k12_bc_cifar10": "densenet40-k12-bc",
    "densenet100_k12_bc_cifar10": "densenet100-k12-bc",
    "resnext29_32x4d_cifar10": "resnext29-32x4d",
    "shakeshakeresnet26_2x32d_cifar10": "shakeshake26-2x32d-pytorchcv",
}
LARGE = {"wrn28_10_cifar10": "wrn-28-10", "pyramidnet272_a200_bn_cifar10": "pyramidnet272-a200"}


@pytest.mark.parametrize("name", CIFAR)
def test_small_ones_are_the_same_function(name: str) -> None:
    theirs = get_model(name, pretrained=False)

    found = assert_same_function(theirs)

    assert (found.arch, found.convention) == (CIFAR[name], "pytorchcv")
    assert sum(parameter.numel() for parameter in theirs.parameters()) == ARCHITECTURES[found.arch].parameters


@pytest.mark.parametrize("name", LARGE)
def test_large_ones_are_recognised(name: str) -> None:
    with torch.device("meta"):
        theirs = get_model(name, pretrained=False)

    found = recognised(theirs)

    assert (found.arch, found.convention) == (LARGE[name], "pytorchcv")
    assert sum(parameter.numel() for parameter in theirs.parameters()) == ARCHITECTURES[found.arch].parameters


def test_a_small_pyramidnet_is_the_same_function() -> None:
    theirs = randomise(get_pyramidnet_cifar(num_classes=10, blocks=20, alpha=23, bottleneck=True, model_name=""))
    ours = pyramidnet(20, 23)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))

    assert_agree(ours.double().eval(), theirs.double())


@pytest.mark.parametrize(("theirs", "arch"), [("resnet18", "resnet18-imagenet"), ("resnet50", "resnet50-imagenet-v1")])
def test_imagenet_resnets_are_the_same_function(theirs: str, arch: str) -> None:
    found = assert_same_function(get_model(theirs, pretrained=False, num_classes=10), side=224)

    assert (found.arch, found.convention) == (arch, "pytorchcv")


def test_its_resnet50b_is_the_alternative() -> None:
    theirs = get_model("resnet50b", pretrained=False, num_classes=10)

    assert recognised(theirs).alternatives == ("resnet50-imagenet",)
    assert_same_function(theirs, "resnet50-imagenet", side=224)
