from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from lastsam_core.errors import UnknownArchitecture
from lastsam_core.models import ARCHITECTURES, architecture, create_model, head_weight, tensor_shapes

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_counted_right(name: str) -> None:
    learned = (shape for key, shape in tensor_shapes(name).items() if not key.endswith(STATISTICS))

    assert sum(map(math.prod, learned)) == ARCHITECTURES[name].parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20-b", 272_474), ("resnet32-b", 466_906), ("resnet56-b", 855_770),
        ("resnet20-a", 269_722), ("resnet32-a", 464_154), ("resnet56-a", 853_018),
        ("wrn-28-2", 1_467_610), ("wrn-16-8", 10_961_370), ("wrn-28-10", 36_479_194),
        ("resnext29-32x4d", 4_775_754), ("pyramidnet272-a200", 26_210_842), ("densenet100-k12-bc", 769_162),
        ("resnet18-cifar", 11_173_962), ("vgg19bn", 20_040_522), ("densenet121-cifar", 6_956_298),
    ],
)  # fmt: skip
def test_parameters_are_the_papers(name: str, parameters: int) -> None:
    assert ARCHITECTURES[name].parameters == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_are_the_models_and_logits_come_out(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=100)
        state = model.state_dict()

    assert list(tensor_shapes(name, 100).items()) == [(key, tuple(value.shape)) for key, value in state.items()]
    assert state[head_weight(name)].shape[0] == 100
    learned = {key for key in state if not key.endswith(STATISTICS)}
    assert {key for key, _ in model.named_parameters()} == learned
    known = ARCHITECTURES[name]
    with torch.device("meta"):
        assert model(torch.empty(2, known.channels, known.image_size, known.image_size)).shape == (2, 100)


def test_an_unknown_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        architecture("resnet20")

    assert "resnet20-a" in str(caught.value.hint)
    with pytest.raises(UnknownArchitecture):
        tensor_shapes("vgg")


def test_importing_the_registry_does_not_import_torch() -> None:
    code = "import sys, lastsam_core.models as m; m.tensor_shapes('wrn-28-10'); assert 'torch' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)
