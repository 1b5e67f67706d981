"""Reliability bins against counting by hand and against `evaluate`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.evaluation import evaluate
from lastsam_core.flatness import calibration_error, reliability
from tests.core.flatness.nets import batches_of, images, net


class Says(nn.Module):
    """Logits whose larger probability is the image's only pixel."""

    def forward(self, x: Tensor) -> Tensor:
        p = x.reshape(-1).double()
        return torch.stack([p.log(), (1 - p).log()], dim=1)


def test_bins_by_hand() -> None:
    x = torch.tensor([0.55, 0.58, 0.95, 0.99, 0.97, 0.2])[:, None]
    y = torch.tensor([0, 1, 0, 0, 1, 1])
    bins = reliability(Says(), batches_of(4, x, y), bins=10)
    assert [one.n for one in bins] == [0, 0, 0, 0, 0, 2, 0, 1, 0, 3]
    assert (bins[5].confidence, bins[5].accuracy) == (pytest.approx(0.565), 0.5)
    assert (bins[9].confidence, bins[9].accuracy) == (pytest.approx(0.97, abs=1e-6), pytest.approx(2 / 3))
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)
    assert (bins[7].lower, bins[7].upper) == (0.7, 0.8)
    expected = (2 * 0.065 + 1 * 0.2 + 3 * (0.97 - 2 / 3)) / 6
    assert calibration_error(bins) == pytest.approx(expected, abs=1e-6)


def test_its_error_is_the_one_that_evaluate_gives() -> None:
    x, y = images(60)
    assert calibration_error(reliability(net(), batches_of(16, x, y))) == pytest.approx(
        evaluate(net(), [(x, y)]).ece, rel=1e-12
    )


def test_images_without_finite_logits_are_in_no_bin() -> None:
    x = torch.tensor([0.9, math.nan, 0.8])[:, None]
    bins = reliability(Says(), [(x, torch.tensor([0, 0, 0]))])
    assert sum(one.n for one in bins) == 2
    assert calibration_error(reliability(Says(), [(x[1:2], torch.tensor([0]))])) == 0.0


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        reliability(Says(), [], bins=0)
