"""The architectures that are known here, by name, and their tensors' shapes; torch is imported only to build one.

The shapes lie in shapes.json, which `python -m lastsam_core.models.shapes` writes from the models themselves.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastsam_core.errors import UnknownArchitecture

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "create_model", "head_weight", "tensor_shapes"]

SHAPES_FILE = Path(__file__).with_name("shapes.json")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that checkpoints can belong to."""

    name: str
    """What recipes call it."""
    title: str
    """What people call it."""
    family: str
    """resnet or wide_resnet."""
    parameters: int
    """Learned numbers, at 10 classes."""
    source: str
    """The paper."""
    builder: str
    """`module:function` that makes it."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the builder is called with, besides num_classes."""
    image_size: int = 32
    """Pixels a side of its input."""


def _resnet(depth: int, shortcut: str, parameters: int) -> Architecture:
    kind = "parameter-free shortcuts" if shortcut == "a" else "projection shortcuts"
    return Architecture(
        name=f"resnet{depth}-{shortcut}",
        title=f"ResNet-{depth} for CIFAR, {kind} (option {shortcut.upper()})",
        family="resnet",
        parameters=parameters,
        source="He et al. 2016, arXiv:1512.03385, sec. 4.2",
        builder="lastsam_core.models.resnet:resnet",
        arguments={"depth": depth, "shortcut": shortcut},
    )


def _wide(depth: int, widen: int, parameters: int) -> Architecture:
    return Architecture(
        name=f"wrn-{depth}-{widen}",
        title=f"Wide ResNet {depth}-{widen}",
        family="wide_resnet",
        parameters=parameters,
        source="Zagoruyko and Komodakis 2016, arXiv:1605.07146",
        builder="lastsam_core.models.wide_resnet:wide_resnet",
        arguments={"depth": depth, "widen": widen},
    )


ARCHITECTURES: dict[str, Architecture] = {
    known.name: known
    for known in (
        _resnet(20, "a", 269_722),
        _resnet(20, "b", 272_474),
        _resnet(32, "a", 464_154),
        _resnet(32, "b", 466_906),
        _resnet(44, "a", 658_586),
        _resnet(44, "b", 661_338),
        _resnet(56, "a", 853_018),
        _resnet(56, "b", 855_770),
        _wide(28, 10, 36_479_194),
        _wide(28, 2, 1_467_610),
        _wide(16, 8, 10_961_370),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture of that name; UnknownArchitecture, with the names nearest to it, where there is none."""
    if known := ARCHITECTURES.get(name):
        return known
    near = difflib.get_close_matches(name.lower(), ARCHITECTURES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownArchitecture(
        f"There is no architecture called {name[:100]!r}.", hint=f"{hint}Known are: {', '.join(ARCHITECTURES)}."
    )


def create_model(name: str, *, num_classes: int = 10) -> nn.Module:
    """The freshly initialised network of that name, float32 on the CPU; UnknownArchitecture where there is none."""
    known = architecture(name)
    module, function = known.builder.split(":")
    build = getattr(importlib.import_module(module), function)
    return build(**known.arguments, num_classes=num_classes)


def tensor_shapes(name: str, num_classes: int = 10) -> dict[str, tuple[int, ...]]:
    """Canonical key -> shape, in the order of the model's state_dict, BatchNorm's counters included."""
    architecture(name)
    entry = _shapes()[name]
    head = set(entry["head"])
    return {key: (num_classes, *shape[1:]) if key in head else tuple(shape) for key, shape in entry["tensors"].items()}


def head_weight(name: str) -> str:
    """The canonical key of the last layer's weight [num_classes, features]."""
    architecture(name)
    return _shapes()[name]["head"][0]


@functools.cache
def _shapes() -> dict[str, Any]:
    return json.loads(SHAPES_FILE.read_text())
