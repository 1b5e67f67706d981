"""Average sharpness: how much the loss rises on average, not at worst, around the weights.

E[L_S(w + T z)] - L_S(w) with z ~ N(0, sigma^2 I), or uniform on the sphere ||z|| = rho; T = 1 or ASAM's T. For small
radii the Gaussian one is sigma^2 / 2 times the trace of T H T, so it sees all of the spectrum where worst-case
sharpness sees its top (Keskar et al. 2017 and Jiang et al. 2020 compare such measures).
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lastsam_core.flatness.surface import rescaled, rise, surface
from lastsam_core.flatness.surroundings import Batches, Criterion
from lastsam_core.perturbation import Perturbation

__all__ = ["AverageSharpness", "average_sharpness"]


@dataclass(frozen=True, kw_only=True)
class AverageSharpness:
    """The mean rise of the loss over random directions, in the loss's unit."""

    kind: Literal["sam", "adaptive"]
    """Whether directions are scaled by T."""
    distribution: Literal["gaussian", "sphere"]
    """What they are drawn from."""
    radius: float
    """sigma of the Gaussian (an element's standard deviation, before T), or rho of the sphere."""
    base_loss: float
    """L_S(w)."""
    mean: float
    """Mean rise; inf where the loss stops being finite. May be negative."""
    stderr: float | None
    """Standard error of the mean over the pairs; None for a single pair."""
    pairs: int
    """How many pairs (z, -z): the slope of the loss cancels in each, so that only the bend is averaged."""


def average_sharpness(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    radius: float,
    distribution: Literal["gaussian", "sphere"] = "gaussian",
    adaptive: bool = False,
    eta: float = 0.01,
    pairs: int = 8,
    seed: int = 0,
) -> AverageSharpness:
    """Average sharpness of `model` at its present weights, over its parameters that require gradients.

    Costs 1 + 2 pairs passes without gradients over S; the model is as before when it returns or raises.

    Args:
        batches, criterion, adaptive, eta: as in `sharpness`.
        radius: sigma or rho, > 0; the sphere's rho compares with sigma sqrt(number of parameters).
        pairs: of directions, >= 1; the same on every device.

    Raises:
        ValueError: an argument out of range, an empty S, a model without trainable parameters.
        Diverged: the loss at the present weights is not finite.
    """
    if not 0 < radius < math.inf:
        raise ValueError(f"radius must be finite and greater than 0, got {radius}")
    if pairs < 1 or distribution not in ("gaussian", "sphere"):
        raise ValueError('pairs must be at least 1, and distribution "gaussian" or "sphere"')
    spec = Perturbation(method="asam" if adaptive else "sam", rho=radius, eta=eta)
    rises = []
    with surface(model, batches, criterion, spec) as over:
        base_loss = over.base_loss()
        for i in range(pairs):
            z = over.random(seed + i)
            v = rescaled(z, radius) if distribution == "sphere" else [t * radius for t in z]
            rises.append(sum(rise(over.loss(point), base_loss) for point in (v, [-t for t in v])) / 2)
    mean = statistics.fmean(rises)
    spread = statistics.stdev(rises) if pairs > 1 and math.isfinite(mean) else None
    return AverageSharpness(
        kind="adaptive" if adaptive else "sam",
        distribution=distribution,
        radius=radius,
        base_loss=base_loss,
        mean=mean,
        stderr=None if spread is None else spread / math.sqrt(pairs),
        pairs=pairs,
    )
