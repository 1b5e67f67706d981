from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lastsam_core.errors import UnknownArchitecture
from lastsam_core.models import ARCHITECTURES, architecture, create_model, head_weight, tensor_shapes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_counted_right(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)

    assert sum(parameter.numel() for parameter in model.parameters()) == ARCHITECTURES[name].parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20-b", 272_474), ("resnet32-b", 466_906), ("resnet56-b", 855_770),
        ("resnet20-a", 269_722), ("resnet32-a", 464_154), ("resnet56-a", 853_018),
        ("wrn-28-2", 1_467_610), ("wrn-16-8", 10_961_370), ("wrn-28-10", 36_479_194),
    ],
)  # fmt: skip
def test_parameters_are_the_papers(name: str, parameters: int) -> None:
    assert ARCHITECTURES[name].parameters == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("num_classes", [10, 100])
def test_shapes_are_the_models(name: str, num_classes: int) -> None:
    with torch.device("meta"):
        state = create_model(name, num_classes=num_classes).state_dict()

    assert list(tensor_shapes(name, num_classes).items()) == [(key, tuple(value.shape)) for key, value in state.items()]
    assert state[head_weight(name)].shape[0] == num_classes


def test_an_unknown_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        architecture("resnet20")

    assert "resnet20-a" in str(caught.value.hint)
    with pytest.raises(UnknownArchitecture):
        tensor_shapes("vgg")


def test_importing_the_registry_does_not_import_torch() -> None:
    code = "import sys, lastsam_core.models as m; m.tensor_shapes('wrn-28-10'); assert 'torch' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)
