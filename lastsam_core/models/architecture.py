"""What an architecture is: a name, how to build it, and what there is to know about it without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Architecture"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that checkpoints can belong to."""

    name: str
    """What recipes call it."""
    title: str
    """What people call it."""
    family: str
    """Networks of one paper: resnet, wide_resnet, vgg, ..."""
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
    channels: int = 3
    """Channels of its input."""
    shapes: Path | Callable[[], Mapping[str, Any]] | None = None
    """Where its tensors are described (shapes.py): a JSON file, or what a callable returns; None: the file here."""
