from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lastsam_core.models.densenet import DenseNet, densenet, densenet_bc
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise

State = dict[str, Tensor]


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])


def kuangliu(state: State, blocks: list[int], x: Tensor) -> Tensor:
    """New channels first, ReLU in transitions: as kuangliu/pytorch-cifar has it, from the tensors alone."""
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for block, layers in enumerate(blocks, 1):
        for layer in range(layers):
            at = f"dense{block}.{layer}"
            new = F.conv2d(F.relu(norm(state, f"{at}.bn1", x)), state[f"{at}.conv1.weight"])
            new = F.conv2d(F.relu(norm(state, f"{at}.bn2", new)), state[f"{at}.conv2.weight"], padding=1)
            x = torch.cat([new, x], 1)
        if block < len(blocks):
            x = F.conv2d(F.relu(norm(state, f"trans{block}.bn", x)), state[f"trans{block}.conv.weight"])
            x = F.avg_pool2d(x, 2)
    x = F.avg_pool2d(F.relu(norm(state, "bn", x)), x.shape[-1]).flatten(1)
    return F.linear(x, state["fc.weight"], state["fc.bias"])


def weiaicunzai(state: State, blocks: list[int], x: Tensor) -> Tensor:
    """New channels last, no ReLU in transitions."""
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for block, layers in enumerate(blocks, 1):
        for layer in range(layers):
            at = f"dense{block}.{layer}"
            new = F.conv2d(F.relu(norm(state, f"{at}.bn1", x)), state[f"{at}.conv1.weight"])
            new = F.conv2d(F.relu(norm(state, f"{at}.bn2", new)), state[f"{at}.conv2.weight"], padding=1)
            x = torch.cat([x, new], 1)
        if block < len(blocks):
            x = F.avg_pool2d(F.conv2d(norm(state, f"trans{block}.bn", x), state[f"trans{block}.conv.weight"]), 2)
    x = F.avg_pool2d(F.relu(norm(state, "bn", x)), x.shape[-1]).flatten(1)
    return F.linear(x, state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize(
    ("reference", "new_first", "relu"), [(kuangliu, True, True), (weiaicunzai, False, False)], ids=["k", "w"]
)
def test_it_computes_what_the_repository_computes(reference, new_first: bool, relu: bool) -> None:
    blocks = [2, 3, 2, 1]
    model = randomise(DenseNet(blocks=blocks, growth=6, new_first=new_first, relu=relu)).double()
    images = some_images().double()

    with torch.no_grad():
        expected = reference(dict(model.state_dict()), blocks, images)
        torch.testing.assert_close(model(images), expected, atol=1e-12, rtol=1e-12)


def test_only_depths_of_the_families_exist() -> None:
    with pytest.raises(ValueError, match="121"):
        densenet(169)
    with pytest.raises(ValueError, match="6n \\+ 4"):
        densenet_bc(121, 12)
