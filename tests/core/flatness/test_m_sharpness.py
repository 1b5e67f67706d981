"""m-sharpness: a ball for each part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lastsam_core.flatness import m_sharpness, sharpness
from tests.core.flatness.nets import batches_of, images, net

CRITERION = nn.CrossEntropyLoss()


def test_one_part_is_the_sharpness_of_the_whole() -> None:
    x, y = images(20)
    for adaptive in (False, True):
        whole = sharpness(net(), [(x, y)], CRITERION, rho=0.2, steps=3, adaptive=adaptive)
        found = m_sharpness(net(), batches_of(7, x, y), CRITERION, m=20, rho=0.2, steps=3, adaptive=adaptive)
        assert found.one_step == pytest.approx(whole.one_step, rel=1e-9)
        assert found.ascent == pytest.approx(whole.ascent, rel=1e-9)
        assert (found.parts, found.ascent_stderr, found.kind) == (1, None, whole.kind)


def test_parts_by_hand() -> None:
    x, y = images(23)
    rises = [
        (sharpness(net(), [(a, b)], CRITERION, rho=0.2, steps=0).one_step, len(b))
        for a, b in zip(x.split(5), y.split(5), strict=True)
    ]
    found = m_sharpness(net(), batches_of(8, x, y), CRITERION, m=5, rho=0.2)
    assert found.parts == 5
    assert found.one_step == pytest.approx(sum(r * n for r, n in rises) / 23, rel=1e-9)
    assert found.ascent == pytest.approx(found.one_step, rel=1e-12)
    values = torch.tensor([r for r, _ in rises], dtype=torch.float64)
    assert found.ascent_stderr == pytest.approx(float(values.std()) / 5**0.5, rel=1e-9)


def test_smaller_parts_are_sharper() -> None:
    """The mean of maxima is at least the maximum of the mean (Foret 4.1 trains with small m for it)."""
    x, y = images(24)
    steep = [m_sharpness(net(), [(x, y)], CRITERION, m=m, rho=0.2, steps=4).ascent for m in (24, 6, 1)]
    assert steep[0] < steep[1] < steep[2]


@pytest.mark.parametrize("wrong", [{"m": 0}, {"rho": 0.0}, {"steps": -1}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        m_sharpness(net(), [images(4)], CRITERION, **({"m": 2, "rho": 0.1} | wrong))  # pyright: ignore[reportArgumentType]
