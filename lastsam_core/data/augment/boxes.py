"""Rectangles in images: what Cutout blanks and CutMix takes from another image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Boxes"]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """A rectangle for each image of a set, by its place there."""

    top: Tensor  # int64 [N], first row
    bottom: Tensor  # one past the last row
    left: Tensor
    right: Tensor

    @classmethod
    def draw(
        cls, tall: Tensor, wide: Tensor, height: int, width: int, chance: torch.Generator, device: torch.device
    ) -> Boxes:
        """Rectangles of `tall` x `wide` pixels, int64 [N], around any pixel; what sticks out of the image is cut off.

        So the blanked or exchanged area is often smaller than asked for, as in both papers' code.
        """
        y = torch.randint(height, tall.shape, generator=chance, device="cpu")
        x = torch.randint(width, wide.shape, generator=chance, device="cpu")
        edges = {
            "top": (y - tall // 2).clamp(0, height),
            "bottom": (y + tall // 2).clamp(0, height),
            "left": (x - wide // 2).clamp(0, width),
            "right": (x + wide // 2).clamp(0, width),
        }
        return cls(**{name: edge.to(device) for name, edge in edges.items()})

    @property
    def area(self) -> Tensor:
        """Pixels inside, int64 [N]."""
        return (self.bottom - self.top) * (self.right - self.left)

    def mask(self, places: Tensor, height: int, width: int) -> Tensor:
        """bool [B, 1, H, W]: what lies inside, for the images `places` [B]."""
        down = torch.arange(height, device=places.device)
        across = torch.arange(width, device=places.device)
        rows = (down >= self.top[places, None]) & (down < self.bottom[places, None])
        columns = (across >= self.left[places, None]) & (across < self.right[places, None])
        return rows[:, None, :, None] & columns[:, None, None, :]
