"""Every map of the plane equals torchvision's with nearest interpolation, but exactly between two pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional

from lastsam_core.data.augment.geometric import GEOMETRIC, source, warped

STRENGTHS = {
    "ShearX": [0.3, -0.09, 1 / 30],
    "ShearY": [0.3, -0.09, 1 / 30],
    "TranslateX": [4.35, -14.5, 1.6],
    "TranslateY": [4.35, -14.5, 1.6],
    "Rotate": [30.0, -9.0, 10 / 3],
}


def theirs(name: str, image: Tensor, strength: float) -> Tensor:
    shear, shift, centre = [0.0, 0.0], [0, 0], None
    if name == "Rotate":
        return functional.rotate(image, strength)
    if name.startswith("Shear"):
        shear[name == "ShearY"], centre = math.degrees(math.atan(strength)), [0, 0]
    else:
        shift[name == "TranslateY"] = int(strength)
    return functional.affine(image, angle=0.0, translate=shift, scale=1.0, shear=shear, center=centre)


@pytest.mark.parametrize("size", [(32, 32), (20, 27)])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    strengths = STRENGTHS[name]
    x = torch.randint(1, 256, (3, *size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    maps = source(name, torch.tensor(strengths, dtype=torch.float64), *size)
    found = warped(x, maps)
    height, width = size
    row, column = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    for image, one, strength, (a, b, c, d, e, f) in zip(x, found, strengths, maps.tolist(), strict=True):
        expected = theirs(name, image.permute(2, 0, 1), strength).permute(1, 2, 0)
        places = torch.stack([a * column + b * row + c, d * column + e * row + f])
        between = ((places - places.round()).abs() < 1e-4).any(dim=0)
        between &= name.startswith(("Shear", "Rotate"))
        assert between.float().mean() < 0.1
        assert torch.equal(one[~between], expected[~between])


def test_a_turn_of_half_and_of_none() -> None:
    x = torch.arange(1, 49, dtype=torch.uint8).view(2, 4, 6, 1)
    maps = source("Rotate", torch.tensor([180.0, 0.0], dtype=torch.float64), 4, 6)
    found = warped(x, maps)
    assert torch.equal(found[1], x[1])
    # float64's sine of pi is not zero: what falls on a border of pixels by that much still comes out in its place.
    assert torch.equal(found[0], x[0].flip(0, 1))


def test_what_does_not_move_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="Invert does not move"):
        source("Invert", torch.ones(1, dtype=torch.float64), 4, 4)
