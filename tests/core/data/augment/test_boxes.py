from __future__ import annotations

import torch

from lastsam_core.data.augment.boxes import Boxes


def test_masks_are_the_rectangles() -> None:
    side = torch.tensor([4, 6, 0, 20])
    boxes = Boxes.draw(side, side, 10, 12, torch.Generator().manual_seed(3), torch.device("cpu"))
    places = torch.tensor([3, 1, 0, 2])
    masks = boxes.mask(places, 10, 12)
    assert masks.shape == (4, 1, 10, 12)
    for mask, place in zip(masks[:, 0], places.tolist(), strict=True):
        expected = torch.zeros(10, 12, dtype=torch.bool)
        expected[boxes.top[place] : boxes.bottom[place], boxes.left[place] : boxes.right[place]] = True
        assert torch.equal(mask, expected)
        assert mask.sum() == boxes.area[place]


def test_middles_are_anywhere_and_borders_cut() -> None:
    side = torch.full((8000,), 16)
    boxes = Boxes.draw(side, side, 32, 32, torch.Generator().manual_seed(0), torch.device("cpu"))
    covered = boxes.mask(torch.arange(8000), 32, 32).double().mean(dim=(0, 1))
    # A pixel in the middle is covered from 16 x 16 of 32 x 32 middles, one in the corner from 8 or 9 squared.
    assert 0.22 < covered[16, 16] < 0.28
    assert 0.05 < covered[0, 0] < 0.09
    assert boxes.area.max() == 256
    assert boxes.area.min() < 100
