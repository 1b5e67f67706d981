"""The recipe's augmentations by name, put together from their parts in the order in which the papers apply them.

View (crop, flip), then AutoAugment or RandAugment, then normalisation, then Cutout or a mixture. Every one beyond
"none" has the view of "basic". Cutout (DeVries and Taylor 2017, arXiv:1708.04552) blanks a square of half the image's
side, 16 of 32 pixels, after normalising: with the mean colour. AutoAugment comes without the Cutout that its authors
add on CIFAR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lastsam_core.data.augment.boxes import Boxes
from lastsam_core.data.augment.mixing import CutMix, Mixup
from lastsam_core.data.augment.policies import Operations
from lastsam_core.data.augment.views import LARGE, Crops, ResizedCrops

__all__ = ["Chance", "draw"]


@dataclass(frozen=True, kw_only=True)
class Chance:
    """All that is random about the images of one epoch; each part says by an image's place in the set what it gets."""

    view: Crops | ResizedCrops | None = None
    operations: Operations | None = None
    cutout: Boxes | None = None
    mix: Mixup | CutMix | None = None

    def pixels(self, pixels: Tensor, places: Tensor, on_cpu: Tensor) -> Tensor:
        """uint8 [B, H, W, C] of the images `places` [B] (and the same on the CPU) -> the same shape."""
        if self.view is not None:
            pixels = self.view(pixels, places)
        return pixels if self.operations is None else self.operations(pixels, on_cpu)

    def blanked(self, x: Tensor, places: Tensor) -> Tensor:
        """Normalised x [B, C, H, W] -> the same shape, which may be the same memory."""
        return x if self.cutout is None else x.masked_fill_(self.cutout.mask(places, *x.shape[2:]), 0)


def draw(
    name: str,
    n: int,
    size: tuple[int, int],
    *,
    chance: Callable[[str], torch.Generator],
    device: torch.device,
    policy: str = "cifar10",
) -> Chance:
    """The chance of an epoch for n images of `size` (height, width).

    chance: a generator, on the CPU, for each purpose. policy: of AutoAugment. ValueError for a name that is none.
    """
    if name == "none":
        return Chance()
    large = min(size) > LARGE
    view = ResizedCrops if large else Crops
    parts: dict[str, Any] = {"view": view.draw(n, *size, chance("resized crop" if large else "augment"), device)}
    match name:
        case "autoaugment":
            parts["operations"] = Operations.auto(policy, n, *size, chance(name))
        case "randaugment":
            parts["operations"] = Operations.random(n, *size, chance(name))
        case "cutout":
            side = torch.full((n,), min(size) // 2)
            parts["cutout"] = Boxes.draw(side, side, *size, chance(name), device)
        case "mixup" | "cutmix":
            kind = Mixup if name == "mixup" else CutMix
            parts["mix"] = kind.draw(n, *size, chance(name), device)
        case "basic":
            pass
        case _:
            raise ValueError(f"there is no augmentation {name!r}")
    return Chance(**parts)
