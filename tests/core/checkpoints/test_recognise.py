from __future__ import annotations

from collections.abc import Callable

import pytest

from lastsam_core.checkpoints import recognise
from lastsam_core.errors import ArchitectureMismatch, UnknownArchitecture
from lastsam_core.models import ARCHITECTURES, tensor_shapes

Shapes = dict[str, tuple[int, ...]]


def renamed(name: str, rename: Callable[[str], str], num_classes: int = 10) -> Shapes:
    return {rename(key): shape for key, shape in tensor_shapes(name, num_classes).items()}


def linear(key: str) -> str:
    return key.replace("fc.", "linear.")


def torchvision(key: str) -> str:
    return key.replace("shortcut", "downsample")


def xternalz(key: str) -> str:
    if key.startswith("bn."):
        return key.replace("bn.", "bn1.")
    if key.startswith("layer"):
        stage, block, rest = key.removeprefix("layer").split(".", 2)
        return f"block{stage}.layer.{block}.{rest.replace('shortcut', 'convShortcut')}"
    return key


def davda54(key: str) -> str:
    if key.startswith("layer"):
        stage, block, part, tensor = key.removeprefix("layer").split(".")
        first = {
            "bn1": "norm_act.0_normalization", "conv1": "block.0_convolution", "bn2": "block.1_normalization",
            "conv2": "block.4_convolution", "shortcut": "downsample",
        }  # fmt: skip
        other = {
            "bn1": "block.0_normalization", "conv1": "block.2_convolution", "bn2": "block.3_normalization",
            "conv2": "block.6_convolution",
        }  # fmt: skip
        return f"f.{stage}_block.block.{block}.{(first if block == '0' else other)[part]}.{tensor}"
    part, tensor = key.split(".")
    return {"conv1": "f.0_convolution.", "bn": "f.4_normalization.", "fc": "f.8_classification."}[part] + tensor


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_recognised_as_itself(name: str) -> None:
    found = recognise(tensor_shapes(name, 43))

    assert (found.arch, found.num_classes, found.convention, found.prefix) == (name, 43, "lastsam", "")
    assert found.mapping == {key: key for key in tensor_shapes(name)}
    assert not found.notes


@pytest.mark.parametrize(
    ("name", "convention", "rename"),
    [
        ("resnet20-a", "linear", linear),
        ("resnet32-b", "linear", linear),
        ("resnet44-b", "torchvision", torchvision),
        ("wrn-28-10", "xternalz", xternalz),
        ("wrn-16-8", "davda54", davda54),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_conventions_and_prefixes(name: str, convention: str, rename: Callable[[str], str], prefix: str) -> None:
    shapes = renamed(name, lambda key: prefix + rename(key), 100)

    found = recognise(shapes)

    assert (found.arch, found.num_classes, found.convention, found.prefix) == (name, 100, convention, prefix)
    assert found.mapping == {key: prefix + rename(key) for key in tensor_shapes(name)}


def test_batch_counters_may_be_missing() -> None:
    shapes = {key: shape for key, shape in tensor_shapes("resnet20-a").items() if "num_batches" not in key}

    found = recognise(shapes, "resnet20-a", 10)

    assert found.mapping.keys() == shapes.keys()
    assert "counts from 0" in found.notes[0]


def test_what_is_near_is_named() -> None:
    shapes = tensor_shapes("resnet56-a")
    del shapes["layer3.8.bn2.bias"]
    shapes["conv1.weight"] = (16, 3, 7, 7)
    shapes["extra"] = (2,)

    with pytest.raises(UnknownArchitecture) as caught:
        recognise(shapes)

    message = str(caught.value)
    assert "resnet56-a" in message
    assert "differ in 3" in message
    assert "conv1.weight is [16, 3, 7, 7] instead of [16, 3, 3, 3]" in message
    assert "layer3.8.bn2.bias [64] is missing" in message
    assert "extra [2] has no place in it" in message


def test_another_architecture_is_told_from_the_one_asked_for() -> None:
    with pytest.raises(ArchitectureMismatch, match=r"no resnet20-a: layer2\.0\.shortcut\.0\.weight") as caught:
        recognise(tensor_shapes("resnet20-b"), "resnet20-a")
    assert "It is a resnet20-b" in str(caught.value.hint)

    with pytest.raises(ArchitectureMismatch):
        recognise({"w": (1,)}, "resnet20-a")
    with pytest.raises(UnknownArchitecture, match="vgg"):
        recognise(tensor_shapes("resnet20-b"), "vgg")


def test_classes_that_are_not_the_heads() -> None:
    with pytest.raises(ArchitectureMismatch, match="100 outputs, 10"):
        recognise(tensor_shapes("resnet20-a", 100), num_classes=10)


def test_a_wide_resnet_with_another_shortcut_is_not_taken_for_ours() -> None:
    shapes = renamed("wrn-28-10", lambda key: key.replace("shortcut.", "shortcut.0.").replace("fc.", "linear."))

    with pytest.raises(UnknownArchitecture, match="another function"):
        recognise(shapes)


def test_two_names_for_one_tensor_fit_nothing() -> None:
    shapes = tensor_shapes("resnet20-a") | {"linear.weight": (10, 64)}

    with pytest.raises(UnknownArchitecture, match=r"linear\.weight \[10, 64\] has no place"):
        recognise(shapes)
