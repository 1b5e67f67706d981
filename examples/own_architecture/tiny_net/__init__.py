"""A network of one's own for LastSAM; importing this package loads no torch."""

from __future__ import annotations

from pathlib import Path

from lastsam_core.models import Architecture

__all__ = ["TINY_NET"]

TINY_NET = Architecture(
    name="tiny-net",
    title="Two convolutions and a linear layer",
    family="tiny_net",
    parameters=1_586,
    source="examples/own_architecture",
    builder="tiny_net.model:tiny_net",
    arguments={"width": 8},
    shapes=Path(__file__).with_name("shapes.json"),
)
