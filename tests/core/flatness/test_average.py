"""Average sharpness of quadratics is half the trace; adaptive of T H T."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.errors import Diverged
from lastsam_core.flatness import average_sharpness
from tests.core.flatness.nets import ONE, Quadratic, batches_of, images, mean, net


def test_gaussian_average_is_half_the_trace() -> None:
    model = Quadratic([5.0, 3.0, 1.0, 0.5, -1.0])
    found = average_sharpness(model, ONE, mean, radius=0.1, pairs=400)
    assert found.stderr is not None
    assert found.mean == pytest.approx(0.5 * 0.01 * 8.5, abs=4 * found.stderr)
    # Pairs cancel the slope: what is left is the spread of z H z / 2, whose variance is sigma^4 tr(H^2) / 2.
    assert found.stderr == pytest.approx(0.01 * math.sqrt(36.25 / 2 / 400), rel=0.25)


def test_sphere_average_is_the_mean_eigenvalue() -> None:
    model = Quadratic([5.0, 3.0, 1.0, 0.5])
    found = average_sharpness(model, ONE, mean, radius=0.3, distribution="sphere", pairs=300)
    assert found.stderr is not None
    assert found.mean == pytest.approx(0.5 * 0.09 * 9.5 / 4, abs=4 * found.stderr)
    ball = average_sharpness(Quadratic([4.0] * 5), ONE, mean, radius=0.3, distribution="sphere", pairs=3)
    assert ball.mean == pytest.approx(0.5 * 0.09 * 4, rel=1e-9)
    assert ball.stderr == pytest.approx(0, abs=1e-12)


def test_adaptive_average_scales_by_the_weights() -> None:
    model = Quadratic([5.0, 3.0, 1.0, 0.5])
    with torch.no_grad():
        t = torch.cat([model.weight.abs() + 0.01, torch.ones(2, dtype=torch.float64)])
    found = average_sharpness(model, ONE, mean, radius=0.1, adaptive=True, pairs=400)
    assert found.stderr is not None
    assert found.mean == pytest.approx(0.005 * float((t * model.h.diagonal() * t).sum()), abs=4 * found.stderr)
    assert found.kind == "adaptive"


def test_batches_do_not_matter() -> None:
    x, y = images(25)
    one, many = (
        average_sharpness(net(), batches_of(size, x, y), nn.CrossEntropyLoss(), radius=0.05, pairs=2)
        for size in (25, 8)
    )
    assert one.mean == pytest.approx(many.mean, rel=1e-9)
    assert one.base_loss == pytest.approx(many.base_loss, rel=1e-12)


def test_what_is_not_finite_is_infinite_or_refused() -> None:
    class Steep(nn.Module):
        def __init__(self, w: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((1,), w))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight * 60).exp() * x

    batches = [(torch.ones(1), torch.ones(1))]
    found = average_sharpness(Steep(1.0), batches, mean, radius=5.0, pairs=3)
    assert (found.mean, found.stderr) == (math.inf, None)
    with pytest.raises(Diverged):
        average_sharpness(Steep(9.0), batches, mean, radius=0.1)
    assert average_sharpness(Steep(0.1), batches, mean, radius=0.01, pairs=1).stderr is None


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"radius": 1.0, "pairs": 0}, {"radius": 1.0, "distribution": "x"}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        average_sharpness(net(), ONE, mean, **wrong)  # pyright: ignore[reportArgumentType]
