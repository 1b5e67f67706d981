"""The spectral density of the Hessian: how its eigenvalues are spread, by stochastic Lanczos quadrature.

For a random unit vector z, z' f(H) z is the integral of f over a measure with the eigenvalues as places and the
squared overlaps as weights; m Lanczos steps from z give its Gauss quadrature, nodes theta_i and weights (first element
of the i-th eigenvector of T)^2. The mean over random z is the density of eigenvalues (Ubaru et al. 2017; Ghorbani et
al. 2019 for networks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from lastsam_core.flatness.hessian import HessianProduct
from lastsam_core.flatness.krylov import lanczos
from lastsam_core.flatness.surroundings import Batches, Criterion, undisturbed

__all__ = ["SpectralDensity", "spectral_density"]


@dataclass(frozen=True, kw_only=True)
class SpectralDensity:
    """A measure of total mass 1 on the real line, and a curve for the eye."""

    nodes: tuple[float, ...]
    """Places, ascending within each probe's part."""
    weights: tuple[float, ...]
    """Their masses; sum 1. The mean of f over all eigenvalues is about sum weights f(nodes)."""
    grid: tuple[float, ...]
    """Where the curve was drawn, evenly spaced from below the lowest node to above the highest."""
    density: tuple[float, ...]
    """The measure broadened by a Gaussian of width `sigma`, at the grid; integrates to 1."""
    sigma: float
    """That width, in the eigenvalues' unit."""
    probes: int
    """Random vectors that were averaged over."""


def spectral_density(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    probes: int = 2,
    steps: int = 30,
    sigma: float | None = None,
    points: int = 400,
    seed: int = 0,
) -> SpectralDensity:
    """The density of the Hessian's eigenvalues at the model's present weights.

    Costs probes * steps Hessian-vector products. The model is as before when it returns or raises.

    Args:
        batches, criterion: as in `sharpness`.
        sigma: of the broadening, > 0; None: a hundredth of the range of the nodes.
        points: of the curve, >= 2.

    Raises:
        ValueError: an argument out of range, an empty S, a model without trainable parameters.
        Diverged: the Hessian is not finite.
    """
    if probes < 1 or steps < 1 or points < 2 or not (sigma is None or 0 < sigma < math.inf):
        raise ValueError("probes and steps must be at least 1, points at least 2, sigma greater than 0")
    nodes: list[float] = []
    weights: list[float] = []
    with undisturbed(model):
        product = HessianProduct(model, batches, criterion)
        for i in range(probes):
            values, vectors = lanczos(product, product.random(seed + i), steps=steps).ritz()
            nodes += values.tolist()
            weights += (vectors[0].square() / probes).tolist()
    low, high = min(nodes), max(nodes)
    # A Hessian with one eigenvalue has no range; any width shows it.
    width = sigma or (high - low) / 100 or max(abs(high), 1.0) / 100
    grid = torch.linspace(low - 5 * width, high + 5 * width, points, dtype=torch.float64)
    steps_away = (grid[:, None] - torch.tensor(nodes, dtype=torch.float64)) / width
    bumps = torch.exp(-steps_away.square() / 2) / (width * math.sqrt(2 * math.pi))
    return SpectralDensity(
        nodes=tuple(nodes),
        weights=tuple(weights),
        grid=tuple(grid.tolist()),
        density=tuple((bumps @ torch.tensor(weights, dtype=torch.float64)).tolist()),
        sigma=width,
        probes=probes,
    )
