"""Writes shapes.json from the models themselves: `python -m lastsam_core.models.shapes`; a test holds the two together.

One line an architecture: the names that change with the number of classes (`head`, its weight first), and every
tensor's shape at 10 classes.
"""

from __future__ import annotations

import json

from lastsam_core.models.registry import ARCHITECTURES, SHAPES_FILE, create_model

__all__ = ["describe"]

CLASSES = 10


def describe() -> str:
    """The text of shapes.json; the head is found as what changes with the number of classes."""
    lines = []
    for name in ARCHITECTURES:
        shapes, other = (_state_shapes(name, classes) for classes in (CLASSES, CLASSES + 1))
        head = [key for key in shapes if shapes[key] != other[key]]
        entry = json.dumps({"head": head, "tensors": shapes}, separators=(",", ":"))
        lines.append(f"{json.dumps(name)}: {entry}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _state_shapes(name: str, num_classes: int) -> dict[str, list[int]]:
    import torch

    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes)
    return {key: list(value.shape) for key, value in model.state_dict().items()}


if __name__ == "__main__":
    SHAPES_FILE.write_text(describe())
