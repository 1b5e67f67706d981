"""Which tensors an architecture has, read from JSON, so that files are recognised without torch.

shapes.json here, and a plug-in's own file, have an object for each architecture: `head`, the names whose first
dimension is the number of classes, the last layer's weight first; `tensors`, name -> shape at 10 classes, where n
instead of a shape stands for the five tensors of a BatchNorm of n channels; or only `like`, the name of another
architecture of the file that has the very same tensors. `python -m lastsam_core.models.shapes` writes them.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastsam_core.errors import UnknownArchitecture
from lastsam_core.models.architecture import Architecture
from lastsam_core.models.zoo import ZOO

__all__ = ["BATCH_NORM", "SHAPES_FILE", "TensorList", "compressed", "tensor_list"]

SHAPES_FILE = Path(__file__).with_name("shapes.json")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_HINT = "Write it with python -m lastsam_core.models.shapes MODULE:OBJECT > shapes.json, and ship it with the plug-in."
_measured: dict[str, TensorList] = {}


@dataclass(frozen=True, kw_only=True)
class TensorList:
    """The tensors of a network of 10 classes."""

    head: tuple[str, ...]
    """The names whose first dimension is the number of classes, the last layer's weight first."""
    tensors: dict[str, tuple[int, ...]]
    """Name -> shape, in the order of the state_dict; not to be changed."""


def tensor_list(known: Architecture) -> TensorList:
    """Its tensors; UnknownArchitecture where a plug-in does not describe them.

    A plug-in without `shapes` is built on the meta device, if this process has loaded torch: it is not loaded for this.
    """
    if known.shapes is None and known.name not in ZOO:
        return _from_model(known)
    try:
        return _described(known.shapes or SHAPES_FILE, known.name)
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise UnknownArchitecture(
            f"What {known.name} says about its tensors cannot be used: {type(error).__name__}: {error}.", hint=_HINT
        ) from None


def compressed(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int | list[int]]:
    """`tensors` of the JSON form; what is named like the five tensors of a BatchNorm is written as one number."""
    short: dict[str, int | list[int]] = {}
    done: set[str] = set()
    for key, shape in shapes.items():
        layer, _, part = key.rpartition(".")
        five = [f"{layer}.{name}" for name in BATCH_NORM]
        if part == BATCH_NORM[0] and all(name in shapes for name in five):
            short[layer] = shape[0]
            done.update(five)
        elif key not in done:
            short[key] = list(shape)
    return short


@functools.cache
def _described(source: Path | Callable[[], Mapping[str, Any]], name: str) -> TensorList:
    entries = _entries(source)
    entry = entries[name]
    return _expanded(entries[entry["like"]] if "like" in entry else entry)


@functools.cache
def _entries(source: Path | Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    return source() if callable(source) else json.loads(Path(source).read_text())


def _expanded(entry: Mapping[str, Any]) -> TensorList:
    tensors: dict[str, tuple[int, ...]] = {}
    for key, shape in entry["tensors"].items():
        if isinstance(shape, int):
            tensors |= {f"{key}.{part}": (shape,) for part in BATCH_NORM[:-1]} | {f"{key}.{BATCH_NORM[-1]}": ()}
        else:
            tensors[key] = tuple(int(side) for side in shape)
    head = tuple(entry["head"])
    if not head or any(not tensors.get(key) for key in head):
        raise ValueError("head names no tensors of it")
    return TensorList(head=head, tensors=tensors)


def _from_model(known: Architecture) -> TensorList:
    if known.name not in _measured:
        if "torch" not in sys.modules:
            raise UnknownArchitecture(
                f"The plug-in that brings {known.name} does not describe its tensors.", hint=_HINT
            )
        from lastsam_core.models.shapes import measure

        try:
            _measured[known.name] = _expanded(measure(known))
        except Exception as error:  # whatever somebody else's network does
            raise UnknownArchitecture(
                f"The plug-in that brings {known.name} cannot build it: {type(error).__name__}: {error}.", hint=_HINT
            ) from error
    return _measured[known.name]
