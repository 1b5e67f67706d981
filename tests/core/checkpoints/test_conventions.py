"""The names that repositories give, written out from their side: from the canonical name to theirs.

Where the other implementation is installed (pytorchcv, timm, torchvision), tests/core/models compares whole networks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lastsam_core.checkpoints import recognise
from lastsam_core.checkpoints.conventions import CONVENTIONS, canonical_key
from lastsam_core.models import ARCHITECTURES, tensor_shapes

Rename = Callable[[str], str]
SEQUENTIAL = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4", "conv3": "6", "bn3": "7"}


def homura(key: str) -> str:
    return re.sub(r"\bbn(\d)", r"norm\1", key).replace("shortcut", "downsample")


def homura_wrn(key: str) -> str:
    return "norm1." + key.removeprefix("bn.") if key.startswith("bn.") else homura(key)


def homura_2020(key: str) -> str:
    return re.sub(r"\bbn(\d?)\.", r"norm\1.", key)


def meliketoy(key: str) -> str:
    key = key.replace("shortcut", "shortcut.0").replace("fc.", "linear.")
    return "bn1." + key.removeprefix("bn.") if key.startswith("bn.") else key


def preact(key: str) -> str:
    return key.replace("shortcut", "shortcut.0").replace("fc.", "linear.")


def classifier(first: int, second: int, last: int, features: str = "features") -> Rename:
    numbers = {"fc1": first, "fc2": second, "fc": last}

    def rename(key: str) -> str:
        layer, _, rest = key.partition(".")
        return f"classifier.{numbers[layer]}.{rest}" if layer in numbers else key.replace("features", features)

    return rename


def weiaicunzai_resnet(key: str) -> str:
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.((?:conv|bn)\d)\.(.+)", key):
        return f"conv{int(match[1]) + 1}_x.{match[2]}.residual_function.{SEQUENTIAL[match[3]]}.{match[4]}"
    if match := re.fullmatch(r"layer(\d)\.(.+)", key):
        return f"conv{int(match[1]) + 1}_x.{match[2]}"
    return key.replace("conv1.", "conv1.0.").replace("bn1.", "conv1.1.")


def weiaicunzai_densenet(key: str) -> str:
    if match := re.fullmatch(r"dense(\d)\.(\d+)\.(\w+)\.(.+)", key):
        block = f"dense_block_layer_{int(match[1]) - 1}" if match[1] != "4" else "dense_block3"
        place = {"bn1": 0, "conv1": 2, "bn2": 3, "conv2": 5}[match[3]]
        return f"features.{block}.bottle_neck_layer_{match[2]}.bottle_neck.{place}.{match[4]}"
    if match := re.fullmatch(r"trans(\d)\.(\w+)\.(.+)", key):
        return f"features.transition_layer_{int(match[1]) - 1}.down_sample.{['bn', 'conv'].index(match[2])}.{match[3]}"
    return key.replace("fc.", "linear.") if not key.startswith("bn.") else f"features.{key}"


def dyhan0920(key: str) -> str:
    return "bn_final." + key.removeprefix("bn.") if key.startswith("bn.") else key


def owruby(key: str) -> str:
    if match := re.fullmatch(r"(layer\d\.\d\.branch\d)\.(\w+)\.(.+)", key):
        return f"{match[1]}.{ {'conv1': 1, 'bn1': 2, 'conv2': 4, 'bn2': 5}[match[2]] }.{match[3]}"
    return re.sub(r"^conv1\.", "c_in.", key).replace("fc.", "fc_out.")


CASES: list[tuple[str, str, Rename]] = [
    ("resnet20-b", "homura", homura),
    ("resnext29-32x4d", "homura", homura),
    ("wrn-28-10-homura", "homura-wrn", homura_wrn),
    ("wrn-28-2-late-stride", "homura-2020", homura_2020),
    ("wrn-28-10-meliketoy", "meliketoy", meliketoy),
    ("preactresnet18-cifar", "preact", preact),
    ("preactresnet18-cifar-norm", "preact", preact),
    ("vgg19bn-chenyaofo", "chenyaofo", classifier(0, 3, 6)),
    ("vgg19bn-chengyangfu", "chengyangfu", classifier(1, 4, 6)),
    ("vgg16bn-chengyangfu", "chengyangfu", classifier(1, 4, 6, "features.module")),
    ("vgg19bn-weiaicunzai", "weiaicunzai", classifier(0, 3, 5)),
    ("resnet18-cifar", "weiaicunzai", weiaicunzai_resnet),
    ("resnet50-cifar", "weiaicunzai", weiaicunzai_resnet),
    ("densenet121-cifar-weiaicunzai", "weiaicunzai", weiaicunzai_densenet),
    ("pyramidnet272-a200", "dyhan0920", dyhan0920),
    ("shakeshake26-2x96d", "owruby", owruby),
    ("resnet56-b", "torchvision", lambda key: key.replace("shortcut", "downsample")),
    ("resnet50-imagenet", "torchvision", lambda key: key.replace("shortcut", "downsample")),
    ("densenet121-cifar", "linear", lambda key: key.replace("fc.", "linear.")),
    ("resnext29-32x4d-kuangliu", "linear", lambda key: key.replace("fc.", "linear.")),
]


@pytest.mark.parametrize(("arch", "convention", "rename"), CASES, ids=[f"{c}-{a}" for a, c, _ in CASES])
def test_their_names_are_understood(arch: str, convention: str, rename: Rename) -> None:
    found = recognise({rename(key): shape for key, shape in tensor_shapes(arch, 100).items()})

    assert (found.arch, found.convention, found.num_classes) == (arch, convention, 100)
    assert found.mapping == {key: rename(key) for key in tensor_shapes(arch)}


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "lastsam"])
def test_each_convention_names_architectures_that_exist(convention: str) -> None:
    assert any(CONVENTIONS[convention].home.fullmatch(name) for name in ARCHITECTURES)


def test_one_key_at_a_time() -> None:
    assert canonical_key("lastsam", "linear.weight") == "linear.weight"
    assert canonical_key("linear", "linear.weight") == "fc.weight"
    assert canonical_key("linear", "layer1.0.linear.weight") == "layer1.0.linear.weight"
    assert canonical_key("pytorchcv", "features.stage3.unit10.body.conv2.bn.bias") == "layer3.9.bn2.bias"
    assert canonical_key("timm", "blocks.6.0.se.conv_expand.bias") == "features.7.0.block.2.fc2.bias"
    assert canonical_key("timm", "blocks.0.0.se.conv_expand.bias") == "features.1.0.block.1.fc2.bias"
