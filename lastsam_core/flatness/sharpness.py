"""Sharpness: how much the loss on a fixed set S can rise within a ball around the weights.

max over ||eps|| <= rho of L_S(w + eps) - L_S(w) (Foret et al. 2021, sec. 2), or over ||T^-1 eps|| <= rho (adaptive:
Kwon et al. 2021, def. 2, with T as in ASAM's paper dialect). Both are one problem in v, where eps = T v, ||v|| <= rho.
The model is in evaluation mode: with fixed BatchNorm statistics and no dropout L_S is a function of the weights alone,
a mean over images that does not depend on how they are cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lastsam_core.errors import Diverged
from lastsam_core.perturbation import Perturbation, global_norm, leaves_of, scale

__all__ = ["Sharpness", "sharpness", "sharpness_profile"]

Batch = tuple[Tensor, Tensor]
Batches = Sequence[Batch] | Callable[[], Iterable[Batch]]
Criterion = Callable[[Any, Tensor], Tensor]

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
    with _surface(model, batches, criterion, spec) as surface:
        base_loss, uphill = surface.with_gradient(None)
        if not math.isfinite(base_loss):
            raise Diverged(f"the loss at the weights themselves is {base_loss}")
        critical = float(global_norm(uphill)) == 0
        randoms = [surface.random(seed + i) for i in range(max(directions, restarts))]
        highest = 0.0  # the centre is in every ball
        for rho in sorted(rhos):
            points = [_rescale(z, rho) for z in randoms]
            rises = [_rise(surface.loss(point), base_loss) for point in points[:directions]]
            starts = points[:restarts] if critical else [_rescale(uphill, rho), *points[: restarts - 1]]
            climbs = [_climb(surface, start, rho, steps) for start in starts]
            one_step = 0.0 if critical else _rise(climbs[0][0], base_loss)
            highest = max(highest, *rises, *(_rise(best, base_loss) for _, best in climbs))
            results.append(
                Sharpness(
                    kind="adaptive" if adaptive else "sam",
                    rho=rho,
                    base_loss=base_loss,
                    one_step=one_step,
                    ascent=highest,
                    random=sum(rises) / len(rises),
                )
            )
    return results


def _rise(loss: float, base_loss: float) -> float:
    return math.inf if math.isnan(loss) else loss - base_loss


def _rescale(v: list[Tensor], rho: float) -> list[Tensor]:
    norm = float(global_norm(v))
    return [t * (rho / norm) for t in v] if norm else v


def _climb(surface: _Surface, v: list[Tensor], rho: float, steps: int) -> tuple[float, float]:
    """Loss at the start and the highest loss on the way up from it, within ||v|| <= rho."""
    if steps == 0:
        loss = surface.loss(v)
        return loss, loss
    first, g = surface.with_gradient(v)
    best, stride = first, rho
    for _ in range(steps):
        if not math.isfinite(best):
            return first, math.inf
        trial = [a + b for a, b in zip(v, _rescale(g, stride), strict=True)]
        if float(global_norm(trial)) > rho:
            trial = _rescale(trial, rho)
        loss, g_trial = surface.with_gradient(trial)
        if loss > best or math.isnan(loss):
            v, g, best, stride = trial, g_trial, loss, min(2 * stride, _LONGEST_STRIDE * rho)
        else:
            stride /= 2
    return first, best


class _Surface:
    """L_S as a function of v, a list of tensors shaped as the parameters: the weights are w + T v."""

    def __init__(self, model: nn.Module, batches: Batches, criterion: Criterion, spec: Perturbation) -> None:
        self._model, self._batches, self._criterion = model, batches, criterion
        leaves = [leaf for leaf in leaves_of(model) if leaf.parameter.requires_grad]
        if not leaves:
            raise ValueError("no parameter of the model requires gradients, so there is no ball around them")
        self._parameters = [leaf.parameter for leaf in leaves]
        self._center = [p.detach().clone() for p in self._parameters]
        self._t = [scale(spec, leaf) for leaf in leaves]

    def _scaled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [x if t is None else t * x for t, x in zip(self._t, tensors, strict=True)]

    def _move(self, v: list[Tensor] | None) -> None:
        with torch.no_grad():
            for p, w in zip(self._parameters, self._center, strict=True):
                p.copy_(w)
            if v is not None:
                for p, eps in zip(self._parameters, self._scaled(v), strict=True):
                    p.add_(eps)

    def _losses(self) -> Iterator[tuple[Tensor, int]]:
        device = self._parameters[0].device
        count = 0
        for x, y in self._batches() if callable(self._batches) else self._batches:
            count += len(y)
            yield self._criterion(self._model(x.to(device)), y.to(device)), len(y)
        if not count:
            raise ValueError("the set that sharpness is measured on has no images")

    def loss(self, v: list[Tensor] | None) -> float:
        """L_S(w + T v)."""
        self._move(v)
        with torch.no_grad():
            parts = [(loss.double() * n, n) for loss, n in self._losses()]
        return float(sum(part for part, _ in parts)) / sum(n for _, n in parts)

    def with_gradient(self, v: list[Tensor] | None) -> tuple[float, list[Tensor]]:
        """L_S(w + T v) and its gradient in v, which is T times the one in the weights."""
        self._move(v)
        total, count = torch.zeros((), dtype=torch.float64, device=self._parameters[0].device), 0
        sums = [torch.zeros_like(p) for p in self._center]
        with torch.enable_grad():
            for loss, n in self._losses():
                for into, g in zip(
                    sums, torch.autograd.grad(loss * n, self._parameters, allow_unused=True), strict=True
                ):
                    if g is not None:
                        into.add_(g)
                total += loss.detach().double() * n
                count += n
        return float(total) / count, self._scaled([s / count for s in sums])

    def random(self, seed: int) -> list[Tensor]:
        """A standard normal v, drawn on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(w.shape, generator=generator, dtype=w.dtype).to(w.device) for w in self._center]

    def leave(self) -> None:
        """Put the weights back."""
        self._move(None)


@contextmanager
def _surface(model: nn.Module, batches: Batches, criterion: Criterion, spec: Perturbation) -> Iterator[_Surface]:
    surface = _Surface(model, batches, criterion, spec)
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.eval()
    try:
        yield surface
    finally:
        surface.leave()
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
        for module, training in modes:
            module.training = training
