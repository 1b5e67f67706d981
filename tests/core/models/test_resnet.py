from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models.resnet_cifar import get_resnet_cifar

from lastsam_core.checkpoints import recognise
from lastsam_core.models.resnet import SubsamplePad, resnet
from tests.core.models.randomise import randomise


@pytest.mark.parametrize("depth", [20, 56])
def test_it_computes_what_pytorchcv_computes(depth: int) -> None:
    theirs = randomise(get_resnet_cifar(num_classes=10, blocks=depth, bottleneck=False, model_name="")).double()
    state = theirs.state_dict()
    found = recognise({key: tuple(value.shape) for key, value in state.items()})
    ours = resnet(depth, "b").double().eval()
    ours.load_state_dict({name: state[key] for name, key in found.mapping.items()})
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()

    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-10, rtol=1e-10)


def test_the_parameter_free_shortcut_subsamples_and_pads_on_both_sides() -> None:
    x = torch.arange(2 * 4 * 6 * 6.0).reshape(2, 4, 6, 6)

    out = SubsamplePad()(x)

    assert out.shape == (2, 8, 3, 3)
    for row in range(3):
        for column in range(3):
            assert torch.equal(out[:, 2:6, row, column], x[:, :, 2 * row, 2 * column])
    assert not out[:, [0, 1, 6, 7]].any()


@pytest.mark.parametrize("shortcut", ["a", "b"])
def test_memory_format_and_double_precision_give_the_same_function(shortcut) -> None:
    model = randomise(resnet(20, shortcut, num_classes=7)).double()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = images.clone()
    with torch.no_grad():
        out = model(images)
        again = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))

    assert out.shape == (3, 7)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out, again, atol=1e-12, rtol=1e-12)
    assert torch.equal(images, before)


def test_every_parameter_gets_a_gradient() -> None:
    model = resnet(20, "a")

    F.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([1, 2])).backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


def test_only_depths_of_the_family_exist() -> None:
    with pytest.raises(ValueError, match="6n \\+ 2"):
        resnet(18, "a")
