"""The quadrature's moments are the spectrum's, and the curve is a density."""

from __future__ import annotations

import numpy as np
import pytest

from lastsam_core.flatness import spectral_density
from tests.core.flatness.nets import ONE, Quadratic, mean


def test_places_and_masses_of_a_known_spectrum() -> None:
    found = spectral_density(Quadratic([5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), ONE, mean, probes=100, steps=4)
    nodes, weights = np.array(found.nodes), np.array(found.weights)
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    heavy = weights > 1e-9
    assert np.all((abs(nodes - 5) < 1e-9) | (abs(nodes - 1) < 1e-9) | ~heavy)
    assert weights[abs(nodes - 5) < 1e-9].sum() == pytest.approx(2 / 8, abs=0.08)


def test_moments_of_one_probe_are_exact() -> None:
    """2m - 1 moments of the measure of z are those of m nodes: the mean is z' H z."""
    model = Quadratic([float(i) for i in range(20)])
    from lastsam_core.flatness import HessianProduct

    z = HessianProduct(model, ONE, mean).random(7)
    found = spectral_density(model, ONE, mean, probes=1, steps=3, seed=7)
    moments = [sum(w * x**k for w, x in zip(found.weights, found.nodes, strict=True)) for k in range(6)]
    vector = z.clone()
    for k in range(6):
        assert moments[k] == pytest.approx(float(z @ vector) / 20, rel=1e-9)
        vector = model.h @ vector


def test_the_curve_integrates_to_one() -> None:
    found = spectral_density(Quadratic([float(i) for i in range(20)]), ONE, mean, probes=2, steps=8)
    assert np.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3)
    assert len(found.grid) == 400
    flat = spectral_density(Quadratic([2.0] * 5), ONE, mean, probes=1)
    assert flat.sigma > 0
    assert flat.grid[int(np.argmax(flat.density))] == pytest.approx(2, abs=flat.sigma)


@pytest.mark.parametrize("wrong", [{"probes": 0}, {"steps": 0}, {"points": 1}, {"sigma": 0.0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        spectral_density(Quadratic([1.0, 2.0]), ONE, mean, **wrong)  # pyright: ignore[reportArgumentType]
