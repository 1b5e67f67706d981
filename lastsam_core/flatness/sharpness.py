"""Sharpness: how much the loss on a fixed set S can rise within a ball around the weights.

max over ||eps|| <= rho of L_S(w + eps) - L_S(w) (Foret et al. 2021, sec. 2), or over ||T^-1 eps|| <= rho (adaptive:
Kwon et al. 2021, def. 2, with T as in ASAM's paper dialect). Both are one problem in v, where eps = T v, ||v|| <= rho.
m-sharpness takes the maximum for each part of m images on its own, as SAM's training does (Foret sec. 4.1).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lastsam_core.flatness.surface import Surface, rescaled, rise, surface
from lastsam_core.flatness.surroundings import Batches, Criterion, in_chunks
from lastsam_core.perturbation import Perturbation, global_norm

__all__ = ["MSharpness", "Sharpness", "m_sharpness", "sharpness", "sharpness_profile"]

_LONGEST_STRIDE = 64.0


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Rises of the mean loss over S, in the loss's unit, at one radius; inf where the loss stops being finite."""

    kind: Literal["sam", "adaptive"]
    """Which ball: ||eps|| <= rho, or ||T^-1 eps|| <= rho."""
    rho: float
    """Its radius, dimensionless."""
    base_loss: float
    """L_S(w)."""
    one_step: float
    """Rise at the closed-form eps of the gradient over all of S: what a SAM step sees. May be negative."""
    ascent: float
    """Largest rise that was seen anywhere in the ball: a lower bound of the maximum; >= 0, one_step and random."""
    random: float
    """Mean rise over random directions, uniform on the sphere (of v, where adaptive)."""
    random_stderr: float | None
    """Standard error of that mean; None for a single direction."""


@dataclass(frozen=True, kw_only=True)
class MSharpness:
    """The mean, over parts of m images, of the largest rise of each part's own loss."""

    kind: Literal["sam", "adaptive"]
    """Which ball."""
    rho: float
    """Its radius, dimensionless."""
    m: int
    """Images a part; the last part may have fewer and weighs less."""
    parts: int
    """How many."""
    base_loss: float
    """L_S(w)."""
    one_step: float
    """Mean rise at each part's own closed-form eps: what a SAM step with this m sees."""
    ascent: float
    """Mean of the largest rises that were seen; >= 0 and one_step."""
    ascent_stderr: float | None
    """Its standard error over the parts; None for one part."""


def sharpness(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    rho: float,
    adaptive: bool = False,
    eta: float = 0.01,
    steps: int = 10,
    restarts: int = 1,
    directions: int = 4,
    seed: int = 0,
) -> Sharpness:
    """Sharpness of `model` at its present weights, over its parameters that require gradients.

    Weights, buffers, modes and gradients are bit for bit as before when it returns or raises. Costs 2 + restarts *
    steps passes with gradients and `directions` without over S.

    Args:
        batches: (x, y) pairs, or a callable that gives them anew; S is all of them, each image weighing the same.
        criterion: criterion(model(x), y), the mean over the batch.
        rho: radius, > 0.
        adaptive: the ball of ASAM; eta as in Kwon alg. 1.
        steps: projected-gradient-ascent steps from each start. A step that rises doubles the stride, another is taken
            back and halves it: on a convex quadratic this tends to the power method and its maximum.
        restarts: how many starts: the one-step point (a random one where the gradient is zero), then random ones.
        seed: of the random directions and starts, which are the same on every device.

    Raises:
        ValueError: an argument out of range, an empty S, a model without trainable parameters.
        Diverged: the loss at the present weights is not finite.
    """
    return sharpness_profile(
        model,
        batches,
        criterion,
        rhos=[rho],
        adaptive=adaptive,
        eta=eta,
        steps=steps,
        restarts=restarts,
        directions=directions,
        seed=seed,
    )[0]


def sharpness_profile(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    rhos: Sequence[float],
    adaptive: bool = False,
    eta: float = 0.01,
    steps: int = 10,
    restarts: int = 1,
    directions: int = 4,
    seed: int = 0,
) -> list[Sharpness]:
    """`sharpness` at each radius, in increasing order.

    `ascent` never falls along the list, as the maximum cannot: the balls are nested, so the highest point seen in a
    smaller one counts in the larger. Single calls of `sharpness` know nothing of each other and promise no such order.
    """
    if not rhos or not all(0 < rho < math.inf for rho in rhos):
        raise ValueError(f"radii must be finite and greater than 0, got {list(rhos)}")
    if steps < 0 or restarts < 1 or directions < 1:
        raise ValueError("steps must be at least 0, restarts and directions at least 1")
    spec = Perturbation(method="asam" if adaptive else "sam", rho=max(rhos), eta=eta)
    results: list[Sharpness] = []
    with surface(model, batches, criterion, spec) as over_s:
        base_loss, uphill = over_s.center()
        critical = float(global_norm(uphill)) == 0
        randoms = [over_s.random(seed + i) for i in range(max(directions, restarts))]
        highest = 0.0  # the centre is in every ball
        for rho in sorted(rhos):
            points = [rescaled(z, rho) for z in randoms]
            rises = [rise(over_s.loss(point), base_loss) for point in points[:directions]]
            starts = points[:restarts] if critical else [rescaled(uphill, rho), *points[: restarts - 1]]
            climbs = [_climb(over_s, start, rho, steps) for start in starts]
            one_step = 0.0 if critical else rise(climbs[0][0], base_loss)
            highest = max(highest, *rises, *(rise(best, base_loss) for _, best in climbs))
            results.append(
                Sharpness(
                    kind="adaptive" if adaptive else "sam",
                    rho=rho,
                    base_loss=base_loss,
                    one_step=one_step,
                    ascent=highest,
                    random=statistics.fmean(rises),
                    random_stderr=_stderr(rises),
                )
            )
    return results


def m_sharpness(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    m: int,
    rho: float,
    adaptive: bool = False,
    eta: float = 0.01,
    steps: int = 0,
) -> MSharpness:
    """m-sharpness: S is cut, in its own order, into parts of m images, and each part has a ball to itself.

    m = the size of S gives `sharpness`'s one_step and, with steps, a climb from there. Costs 2 + steps passes over S,
    all but one with gradients; the model is as before when it returns or raises.

    Args:
        batches, criterion, rho, adaptive, eta: as in `sharpness`.
        m: images a part, >= 1.
        steps: projected-gradient-ascent steps; 0 stays at the closed-form eps, as training does.

    Raises:
        ValueError: an argument out of range, an empty S, a model without trainable parameters.
        Diverged: the loss at the present weights is not finite.
    """
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be finite and greater than 0, got {rho}")
    if m < 1 or steps < 0:
        raise ValueError(f"m must be at least 1 and steps at least 0, got {m} and {steps}")
    spec = Perturbation(method="asam" if adaptive else "sam", rho=rho, eta=eta)
    sizes, bases, firsts, bests = [], [], [], []
    with surface(model, batches, criterion, spec) as over:
        for x, y in in_chunks(batches, m):
            over.batches = [(x, y)]
            base, uphill = over.center()
            start = rescaled(uphill, rho)
            first, best = _climb(over, start, rho, steps) if float(global_norm(start)) else (base, base)
            sizes.append(len(y))
            bases.append(base)
            firsts.append(rise(first, base))
            bests.append(max(0.0, rise(best, base)))
    if not sizes:
        raise ValueError("the set to measure on has no images")
    return MSharpness(
        kind="adaptive" if adaptive else "sam",
        rho=rho,
        m=m,
        parts=len(sizes),
        base_loss=statistics.fmean(bases, sizes),
        one_step=statistics.fmean(firsts, sizes),
        ascent=statistics.fmean(bests, sizes),
        ascent_stderr=_stderr(bests),
    )


def _stderr(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    if not all(map(math.isfinite, values)):
        return math.inf
    return statistics.stdev(values) / math.sqrt(len(values))


def _climb(over: Surface, v: list[Tensor], rho: float, steps: int) -> tuple[float, float]:
    """Loss at the start and the highest loss on the way up from it, within ||v|| <= rho."""
    if steps == 0:
        loss = over.loss(v)
        return loss, loss
    first, g = over.with_gradient(v)
    best, stride = first, rho
    for _ in range(steps):
        if not math.isfinite(best):
            return first, math.inf
        trial = [a + b for a, b in zip(v, rescaled(g, stride), strict=True)]
        if float(global_norm(trial)) > rho:
            trial = rescaled(trial, rho)
        loss, g_trial = over.with_gradient(trial)
        if loss > best or math.isnan(loss):
            v, g, best, stride = trial, g_trial, loss, min(2 * stride, _LONGEST_STRIDE * rho)
        else:
            stride /= 2
    return first, best
