from __future__ import annotations

import pytest
import torch

from lastsam_core.data.augment.mixing import CutMix, Mixup

CPU = torch.device("cpu")
PLACES = torch.tensor([4, 0, 2, 1])
X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([2, 0, 0, 1])


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_mixup_is_the_formula() -> None:
    mix = Mixup.draw(5, 8, 8, chance(), CPU)
    x, y = mix(X, Y, PLACES, 3)
    for row in range(3):
        share = mix.share[PLACES[row]].item()
        torch.testing.assert_close(x[row], share * X[row] + (1 - share) * X[row + 1])
        expected = torch.zeros(3)
        expected[Y[row]] += share
        expected[Y[row + 1]] += 1 - share
        torch.testing.assert_close(y[row], expected)


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels() -> None:
    mix = CutMix.draw(5, 8, 8, chance(), CPU)
    x, y = mix(X, Y, PLACES, 3)
    for row in range(3):
        pasted = (x[row] == X[row + 1]).all(dim=0)
        assert torch.equal(pasted, mix.boxes.mask(PLACES[row : row + 1], 8, 8)[0, 0])
        assert torch.equal(x[row][:, ~pasted], X[row][:, ~pasted])
        share = 1 - pasted.float().mean().item()
        expected = torch.zeros(3)
        expected[Y[row]] += share
        expected[Y[row + 1]] += 1 - share
        torch.testing.assert_close(y[row], expected)


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_shares_spread_over_all_of_zero_to_one(kind: type[Mixup] | type[CutMix]) -> None:
    share = kind.draw(20_000, 32, 32, chance(), CPU).share
    assert share.min() < 0.2
    assert share.max() > 0.99
    # Beta(1, 1) has mean 1/2. Of a side s around any place s - s^2 / 4 lies inside, and s^2 is uniform: 0.32 is pasted.
    assert share.mean() == pytest.approx(0.5 if kind is Mixup else 0.68, abs=0.025)
