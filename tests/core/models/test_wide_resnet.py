from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models.wrn_cifar import get_wrn_cifar
from torch import Tensor

from lastsam_core.checkpoints import recognise
from lastsam_core.models import ARCHITECTURES
from lastsam_core.models.wide_resnet import wide_resnet
from tests.core.models.oracle import some_images
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


@pytest.mark.parametrize(("variant", "strides"), [("homura", (2, 1)), ("late-stride", (1, 2)), ("meliketoy", (1, 2))])
def test_variants_read_the_raw_input_and_stride_where_their_repository_does(
    variant: str, strides: tuple[int, int]
) -> None:
    arguments = ARCHITECTURES[f"wrn-40-2-{variant}"].arguments
    model = randomise(wide_resnet(**arguments | {"depth": 10, "widen": 1})).double()
    state = dict(model.state_dict())
    assert ("conv1.bias" in state) == (variant == "meliketoy")

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)

    def active(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, var, weight, bias))

    images = some_images().double()
    x = conv("conv1", images)
    for number in (1, 2, 3):
        at, first, second = f"layer{number}.0", *(strides if number > 1 else (1, 1))
        out = conv(f"{at}.conv2", active(f"{at}.bn2", conv(f"{at}.conv1", active(f"{at}.bn1", x), first)), second)
        stride = first * second
        has_shortcut = f"{at}.shortcut.weight" in state
        x = out + (conv(f"{at}.shortcut", x, stride, 0) if has_shortcut else x)
    x = active("bn", x).mean((2, 3))

    with torch.no_grad():
        torch.testing.assert_close(model(images), F.linear(x, state["fc.weight"], state["fc.bias"]))


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
