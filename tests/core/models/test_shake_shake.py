from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lastsam_core.models.shake_shake import ShakeBlock, ShakeShake, shake_shake_resnet
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise


def branch(block: ShakeBlock, name: str, x: torch.Tensor) -> torch.Tensor:
    part = block.get_submodule(name)
    conv1, bn1, conv2, bn2 = (part.get_submodule(at) for at in ("conv1", "bn1", "conv2", "bn2"))
    return nn.Sequential(nn.ReLU(), conv1, bn1, nn.ReLU(), conv2, bn2)(x)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_that_changes_the_shape_is_owrubys(stride: int) -> None:
    block = randomise(ShakeBlock(4, 8, stride, "owruby")).double()
    assert isinstance(block, ShakeBlock)
    assert block.shortcut is not None
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    active = F.relu(x)
    one, two = (nn.Conv2d(4, 4, 1, bias=False).double() for _ in range(2))
    one.weight, two.weight = block.shortcut.conv1.weight, block.shortcut.conv2.weight
    moved = F.avg_pool2d(F.pad(active, (-1, 1, -1, 1)), 1, stride)  # row and column 0 fall out, zeros come in
    shortcut = block.shortcut.bn(torch.cat((one(F.avg_pool2d(active, 1, stride)), two(moved)), 1))

    expected = (branch(block, "branch1", x) + branch(block, "branch2", x)) / 2 + shortcut

    torch.testing.assert_close(block(x), expected)


def test_a_block_that_keeps_the_shape_adds_the_raw_input() -> None:
    block = randomise(ShakeBlock(4, 4, 1, "owruby")).double()
    assert isinstance(block, ShakeBlock)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)

    expected = (branch(block, "branch1", x) + branch(block, "branch2", x)) / 2 + x

    torch.testing.assert_close(block(x), expected)


def test_training_is_noisy_and_evaluation_is_not() -> None:
    model = randomise(ShakeShake(blocks=1, width=4))
    images = some_images()

    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


def test_only_depths_of_the_family_exist() -> None:
    with pytest.raises(ValueError, match="6n \\+ 2"):
        shake_shake_resnet(28, 96)
