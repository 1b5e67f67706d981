"""The loss around the weights, drawn on a line or a plane of filter-normalised random directions (Li et al. 2018).

A direction's filters get the norms of the weights' filters, so that pictures of two networks compare whatever the
scale of their weights; biases and normalisation parameters stay where they are (their `biasbn`). A picture of two
directions out of hundreds of thousands is an illustration: what to conclude from are sharpness and Hessian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lastsam_core.flatness.barrier import weights_of
from lastsam_core.flatness.renormalize import renormalize
from lastsam_core.flatness.surroundings import Batches, Criterion, mean_loss, normal, undisturbed

__all__ = ["Landscape", "filter_normalized", "loss_landscape"]


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """L(w + a d1 + b d2) on a grid, in the loss's unit."""

    kind: Literal["1d", "2d"]
    """A line (b = 0) or a plane."""
    a: tuple[float, ...]
    """Places along d1; 0 is the network itself, and with `toward` 1 is the other one."""
    b: tuple[float, ...]
    """Places along d2; (0.0,) for a line."""
    loss: tuple[tuple[float, ...], ...]
    """A row for each b, in it a loss for each a; inf where it is not finite."""


def loss_landscape(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    *,
    kind: Literal["1d", "2d"] = "1d",
    extent: tuple[float, float] | None = None,
    points: int | None = None,
    toward: nn.Module | Mapping[str, Tensor] | None = None,
    statistics: Batches | None = None,
    seed: int = 0,
) -> Landscape:
    """The landscape around the model's present weights, over all its parameters.

    Costs points (points squared in a plane) passes without gradients over S. The model is as before when it returns
    or raises.

    Args:
        batches, criterion: as in `sharpness`.
        extent: first and last place on each axis; None: -1 to 1, and -0.5 to 1.5 along `toward`.
        points: on each axis, >= 2; None: 21 on a line, 11 in a plane.
        toward: a network of the same architecture, or its state_dict, that d1 leads to, instead of a random direction.
        statistics: batches that BatchNorm's statistics are re-estimated on at each place; None keeps the model's own
            everywhere, as Li et al. do, which is wrong at the far end of `toward`.
        seed: of the directions, which are the same for every network of an architecture and on every device.

    Raises:
        ValueError: an argument out of range, an empty S.
        ArchitectureMismatch: `toward` does not have the model's parameters.
    """
    count = points or (21 if kind == "1d" else 11)
    if kind not in ("1d", "2d") or count < 2:
        raise ValueError('kind must be "1d" or "2d", and points at least 2')
    if extent is not None and not -math.inf < extent[0] < extent[1] < math.inf:
        raise ValueError(f"extent must be two finite numbers, the lower one first, got {extent}")
    parameters = list(model.parameters())
    center = [p.detach().clone() for p in parameters]
    if toward is None:
        first = filter_normalized(center, seed)
    else:
        there = weights_of(toward, model)
        first = [there[name] - w for (name, _), w in zip(model.named_parameters(), center, strict=True)]
    second = filter_normalized(center, seed + 1)
    a = _places(extent or ((-1.0, 1.0) if toward is None else (-0.5, 1.5)), count)
    b = [0.0] if kind == "1d" else _places(extent or (-1.0, 1.0), count)

    def at(step_a: float, step_b: float) -> float:
        with torch.no_grad():
            for p, w, d1, d2 in zip(parameters, center, first, second, strict=True):
                p.copy_(w).add_(d1, alpha=step_a).add_(d2, alpha=step_b)
        if statistics is not None:
            renormalize(model, statistics)
        loss = mean_loss(model, batches, criterion)
        return loss if math.isfinite(loss) else math.inf

    with undisturbed(model):
        rows = tuple(tuple(at(step_a, step_b) for step_a in a) for step_b in b)
    return Landscape(kind=kind, a=tuple(a), b=tuple(b), loss=rows)


def filter_normalized(weights: list[Tensor], seed: int) -> list[Tensor]:
    """A random direction: each filter z_j (first index) is z_j ||w_j|| / ||z_j||; zero for tensors of one index."""
    directions = []
    for w, z in zip(weights, normal(weights, seed), strict=True):
        if w.dim() < 2:
            directions.append(torch.zeros_like(w))
            continue
        others = tuple(range(1, w.dim()))
        norms = torch.linalg.vector_norm(w, dim=others, keepdim=True)
        directions.append(z * (norms / torch.linalg.vector_norm(z, dim=others, keepdim=True)))
    return directions


def _places(extent: tuple[float, float], count: int) -> list[float]:
    low, high = extent
    # Rounded so that 0 is 0 where it is on the grid, and the network itself is drawn.
    return [round(low + (high - low) * i / (count - 1), 12) for i in range(count)]
