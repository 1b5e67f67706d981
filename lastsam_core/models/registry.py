"""The architectures that can be used here, by name: those of zoo.py, then those of installed plug-ins.

Importing this module loads neither torch nor plug-ins: plug-ins are loaded when a name is not one of ours or when all
names are wanted, torch when a network is built.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lastsam_core.errors import UnknownArchitecture
from lastsam_core.models.architecture import Architecture
from lastsam_core.models.plugins import load_plugins
from lastsam_core.models.tensor_lists import tensor_list
from lastsam_core.models.zoo import ZOO

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture",
    "create_model",
    "head_weight",
    "recognisable",
    "tensor_count",
    "tensor_shapes",
    "where_names_are",
]


class _Registry(Mapping[str, Architecture]):
    """Name -> architecture, ours first."""

    def __getitem__(self, name: str) -> Architecture:
        return ZOO[name] if name in ZOO else load_plugins()[name]

    def __iter__(self) -> Iterator[str]:
        yield from ZOO
        yield from load_plugins()

    def __len__(self) -> int:
        return len(ZOO) + len(load_plugins())


ARCHITECTURES: Mapping[str, Architecture] = _Registry()


def architecture(name: str) -> Architecture:
    """The architecture of that name; UnknownArchitecture, with the names nearest to it, where there is none."""
    if known := ARCHITECTURES.get(name):
        return known
    near = difflib.get_close_matches(name.lower(), ARCHITECTURES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownArchitecture(f"There is no architecture called {name[:100]!r}.", hint=f"{hint}{where_names_are()}")


def where_names_are() -> str:
    """A sentence for hints."""
    families = ", ".join(dict.fromkeys(known.family for known in ARCHITECTURES.values()))
    all_names = f"all {len(ARCHITECTURES)} names: GET /architectures, or lastsam_core.models.ARCHITECTURES"
    return f"Known families: {families} ({all_names})."


def create_model(name: str, *, num_classes: int = 10) -> nn.Module:
    """The freshly initialised network of that name, float32 on the CPU; UnknownArchitecture where there is none."""
    known = architecture(name)
    module, function = known.builder.split(":")
    build = getattr(importlib.import_module(module), function)
    return build(**known.arguments, num_classes=num_classes)


def tensor_shapes(name: str, num_classes: int = 10) -> dict[str, tuple[int, ...]]:
    """Canonical key -> shape, in the order of the model's state_dict, BatchNorm's counters included.

    UnknownArchitecture where there is no such architecture, or where a plug-in does not describe its tensors.
    """
    known = tensor_list(architecture(name))
    head = set(known.head)
    return {key: (num_classes, *shape[1:]) if key in head else shape for key, shape in known.tensors.items()}


def recognisable() -> list[str]:
    """The names of all architectures but those of plug-ins whose tensors this process cannot know (tensor_lists.py)."""

    def is_told(known: Architecture) -> bool:
        try:
            return bool(tensor_list(known).tensors)
        except UnknownArchitecture:
            return False

    return [*ZOO, *(name for name, known in load_plugins().items() if is_told(known))]


def tensor_count(name: str) -> int:
    """How many tensors it has, BatchNorm's counters left out."""
    return sum(not key.endswith("num_batches_tracked") for key in tensor_list(architecture(name)).tensors)


def head_weight(name: str) -> str:
    """The canonical key of the last layer's weight [num_classes, features]."""
    return tensor_list(architecture(name)).head[0]
