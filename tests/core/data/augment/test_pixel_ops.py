"""Every operation on colours equals torchvision's on uint8 tensors, to the grey level."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional

from lastsam_core.data.augment.pixel_ops import BY_TABLE, color, looked_up, sharpness, table

THEIRS = {
    "Brightness": lambda x, s: functional.adjust_brightness(x, 1 + s),
    "Contrast": lambda x, s: functional.adjust_contrast(x, 1 + s),
    "Posterize": lambda x, s: functional.posterize(x, int(s)),
    "Solarize": functional.solarize,
    "AutoContrast": lambda x, _: functional.autocontrast(x),
    "Equalize": lambda x, _: functional.equalize(x),
    "Invert": lambda x, _: functional.invert(x),
    "Color": lambda x, s: functional.adjust_saturation(x, 1 + s),
    "Sharpness": lambda x, s: functional.adjust_sharpness(x, 1 + s),
}
FACTORS = [-0.9, -0.27, 0.0, 0.1, 0.5, 0.9]
STRENGTHS = {"Posterize": [4, 5, 7, 8, 6, 4], "Solarize": [0.0, 28.3, 127.5, 178.5, 255.0, 200.0]}


def images(channels: int) -> Tensor:
    """[6, 12, 10, C]: noise, a narrow range, a ramp, one colour, black and white."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randint(256, (6, 12, 10, channels), generator=chance, dtype=torch.uint8)
    x[1] = x[1] // 16 + 90
    x[2] = torch.arange(120).view(12, 10, 1)
    x[3] = 77
    x[4] = (x[4] > 128) * 255
    return x


def ours(name: str, x: Tensor, strength: Tensor) -> Tensor:
    if name in BY_TABLE:
        return looked_up(x, table(name, x, strength))
    return {"Color": color, "Sharpness": sharpness}[name](x, strength)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", THEIRS)
def test_is_torchvisions(name: str, channels: int) -> None:
    x = images(channels)
    for turn in range(6):
        strengths = STRENGTHS.get(name, FACTORS)
        given = torch.tensor(strengths[turn:] + strengths[:turn], dtype=torch.float64)
        found = ours(name, x, given)
        assert found.dtype == torch.uint8
        for image, strength, one in zip(x, given.tolist(), found, strict=True):
            expected = THEIRS[name](image.permute(2, 0, 1), strength).permute(1, 2, 0)
            assert torch.equal(one, expected), (name, strength)


def test_the_given_pixels_are_left_alone() -> None:
    x = images(3)
    for name in THEIRS:
        ours(name, x, torch.full((6,), 5.0, dtype=torch.float64))
    assert torch.equal(x, images(3))


def test_other_counts_of_channels_and_slivers_do_no_harm() -> None:
    five = images(5)
    assert torch.equal(color(five, torch.ones(6)), five)
    assert ours("Contrast", five, torch.ones(6, dtype=torch.float64)).shape == five.shape
    sliver = images(3)[:, :2]
    assert torch.equal(sharpness(sliver, torch.ones(6)), sliver)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="Color is not looked up"):
        table("Color", images(3), torch.ones(6))
