"""The loss barrier on the straight line between two networks: are they in the same valley?

max over t in [0, 1] of L((1 - t) w0 + t w1) - ((1 - t) L(w0) + t L(w1)), BatchNorm statistics re-estimated at each t,
both ends included (Frankle et al. 2020, linear mode connectivity; Jordan et al. 2023 for the statistics).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lastsam_core.errors import ArchitectureMismatch, Diverged
from lastsam_core.flatness.renormalize import renormalize
from lastsam_core.flatness.surroundings import Batches, Criterion, mean_loss, undisturbed

__all__ = ["Barrier", "loss_barrier", "weights_of"]


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """The loss along the line, in its own unit."""

    t: tuple[float, ...]
    """Places, evenly spaced from 0 (the first network) to 1 (the second)."""
    loss: tuple[float, ...]
    """L at each place, with statistics of its own; inf where it is not finite."""
    barrier: float
    """Largest rise above the straight line between the two ends' losses; 0 where there is none, >= 0."""
    at: float
    """Where it is: the first t that has it."""


def loss_barrier(
    model0: nn.Module,
    model1: nn.Module | Mapping[str, Tensor],
    batches: Batches,
    criterion: Criterion,
    *,
    statistics: Batches | None = None,
    points: int = 11,
) -> Barrier:
    """The barrier between the present weights of `model0` and those of `model1`, which both stay as they are.

    Costs a pass without gradients over S for each point, and one over `statistics` where a layer keeps any.

    Args:
        model1: a model of the same architecture, or its state_dict.
        batches, criterion: as in `sharpness`; S is where the loss is taken.
        statistics: training batches for BatchNorm's statistics, augmented as the networks were trained: on 512 plain
            images a ResNet-20 that was trained with crops and flips has a training loss of 0.134 nats instead of its
            0.007, on 512 augmented ones 0.006. The same ones each time; None takes `batches`.
        points: of the line, both ends included, >= 2.

    Raises:
        ValueError: an argument out of range, an empty S.
        ArchitectureMismatch: the two do not have the same parameters.
        Diverged: the loss at one of the ends is not finite, so that no line can be drawn.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    there = weights_of(model1, model0)
    places = [i / (points - 1) for i in range(points)]
    found = []
    with undisturbed(model0):
        here = {name: p.detach().clone() for name, p in model0.named_parameters()}
        for t in places:
            with torch.no_grad():
                for name, p in model0.named_parameters():
                    p.copy_(torch.lerp(here[name], there[name], t))
            renormalize(model0, batches if statistics is None else statistics)
            loss = mean_loss(model0, batches, criterion)
            found.append(loss if math.isfinite(loss) else math.inf)
    height, at = _highest(places, found)
    return Barrier(t=tuple(places), loss=tuple(found), barrier=height, at=at)


def weights_of(other: nn.Module | Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Copies of `other`'s parameters under the names, and on the devices, of `model`'s."""
    state = other.state_dict() if isinstance(other, nn.Module) else other
    weights: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        if name not in state or state[name].shape != p.shape:
            raise ArchitectureMismatch(
                f"The two networks differ: {name} {tuple(p.shape)} of the first is not in the second.",
                hint="Compare checkpoints of one architecture and one number of classes.",
            )
        weights[name] = state[name].detach().to(p.device, p.dtype, copy=True)
    return weights


def _highest(places: list[float], found: list[float]) -> tuple[float, float]:
    first, last = found[0], found[-1]
    if math.isinf(first) or math.isinf(last):
        raise Diverged(f"the loss is not finite at the {'first' if math.isinf(first) else 'second'} network itself")
    rises = [loss - ((1 - t) * first + t * last) for t, loss in zip(places, found, strict=True)]
    rises[0] = rises[-1] = 0.0
    best = max(range(len(rises)), key=lambda i: rises[i])
    return rises[best], places[best]
