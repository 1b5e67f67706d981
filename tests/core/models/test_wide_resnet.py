from __future__ import annotations

import pytest
import torch
from pytorchcv.models.wrn_cifar import get_wrn_cifar

from lastsam_core.checkpoints import recognise
from lastsam_core.models.wide_resnet import wide_resnet
from tests.core.models.randomise import randomise


@pytest.mark.parametrize(("depth", "widen"), [(28, 2), (16, 8)])
def test_it_computes_what_pytorchcv_computes(depth: int, widen: int) -> None:
    theirs = randomise(get_wrn_cifar(num_classes=10, blocks=depth, width_factor=widen, model_name="")).double()
    state = theirs.state_dict()
    found = recognise({key: tuple(value.shape) for key, value in state.items()})
    ours = wide_resnet(depth, widen).double().eval()
    ours.load_state_dict({name: state[key] for name, key in found.mapping.items()})
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()

    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-10, rtol=1e-10)


def test_channels_last_gives_the_same_function() -> None:
    model = randomise(wide_resnet(10, 1)).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        out = model(images)
        again = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))

    torch.testing.assert_close(out, again, atol=1e-12, rtol=1e-12)


def test_only_depths_of_the_family_exist() -> None:
    with pytest.raises(ValueError, match="6n \\+ 4"):
        wide_resnet(20, 2)
