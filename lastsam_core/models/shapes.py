"""Writes shapes.json from the models themselves: `python -m lastsam_core.models.shapes`; a test holds the two together.

With `MODULE:OBJECT`, an Architecture, several of them or a function that returns either, their description goes to the
standard output: what a plug-in ships as its own file (tensor_lists.py says what is in it).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lastsam_core.models.architecture import Architecture
from lastsam_core.models.tensor_lists import SHAPES_FILE, compressed
from lastsam_core.models.zoo import ZOO

__all__ = ["describe", "main", "measure"]

CLASSES = 10


def describe(architectures: Iterable[Architecture]) -> str:
    """The text of the file, a line an architecture."""
    lines: list[str] = []
    seen: dict[str, str] = {}
    for known in architectures:
        entry = json.dumps(measure(known), separators=(",", ":"))
        first = seen.setdefault(entry, known.name)
        lines.append(f"{json.dumps(known.name)}: {entry if first == known.name else json.dumps({'like': first})}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def measure(known: Architecture) -> dict[str, Any]:
    """Its entry in the file, from the built network; the head is what changes with the number of classes."""
    shapes, other = (_state_shapes(known, classes) for classes in (CLASSES, CLASSES + 1))
    head = [key for key in shapes if shapes[key] != other[key]]
    return {"head": head, "tensors": compressed(shapes)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes shapes.json, or describes the object that the one argument names."""
    named = sys.argv[1:] if arguments is None else arguments
    if not named:
        SHAPES_FILE.write_text(describe(ZOO.values()))
        return
    module, _, name = named[0].partition(":")
    found: Any = getattr(importlib.import_module(module), name)
    found = found() if callable(found) else found
    sys.stdout.write(describe([found] if isinstance(found, Architecture) else found))


def _state_shapes(known: Architecture, num_classes: int) -> dict[str, tuple[int, ...]]:
    import torch

    module, function = known.builder.split(":")
    with torch.device("meta"):
        model = getattr(importlib.import_module(module), function)(**known.arguments, num_classes=num_classes)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


if __name__ == "__main__":
    main()
