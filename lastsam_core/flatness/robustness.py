"""How good a network stays when its weights are disturbed: by relative noise, and by rounding them to eight bits.

What flatness is worth in practice: a network in a flat minimum can be stored in int8 or run on noisy hardware.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lastsam_core.evaluation import Evaluation, evaluate
from lastsam_core.flatness.surroundings import Batches, normal, undisturbed

__all__ = ["WeightNoise", "evaluate_int8", "int8", "weight_noise"]


@dataclass(frozen=True, kw_only=True)
class WeightNoise:
    """A classifier under weights w (1 + sigma z), z ~ N(0, 1) for each weight."""

    sigma: float
    """Relative size of the noise."""
    accuracy: float
    """Mean over the draws, a fraction."""
    accuracy_stderr: float | None
    """Standard error over the draws (not over the images, which are the same); None for one draw."""
    nll: float
    """Mean over the draws of the negative log-likelihood, nats."""
    nll_stderr: float | None
    """Likewise."""
    draws: int
    """How many."""


def weight_noise(
    model: nn.Module, batches: Batches, *, sigmas: Sequence[float] = (0.01, 0.05, 0.1), draws: int = 5, seed: int = 0
) -> list[WeightNoise]:
    """Accuracy and loss under relative Gaussian noise on all parameters, at each sigma as given.

    The same draws at every sigma and on every device. Costs draws passes without gradients for each sigma; the model
    is as before when it returns or raises. ValueError for a sigma or a number of draws out of range, or an empty set.
    """
    if not all(0 <= sigma < math.inf for sigma in sigmas) or draws < 1:
        raise ValueError("sigmas must be finite and at least 0, draws at least 1")
    results = []
    with _replacing(model) as (center, put):
        for sigma in sigmas:
            found: list[Evaluation] = []
            for i in range(draws):
                put([w * (1 + sigma * z) for w, z in zip(center, normal(center, seed + i), strict=True)])
                found.append(evaluate(model, batches() if callable(batches) else batches))
            accuracies, losses = [one.accuracy for one in found], [one.nll for one in found]
            results.append(
                WeightNoise(
                    sigma=sigma,
                    accuracy=statistics.fmean(accuracies),
                    accuracy_stderr=_stderr(accuracies),
                    nll=statistics.fmean(losses),
                    nll_stderr=_stderr(losses),
                    draws=draws,
                )
            )
    return results


def evaluate_int8(model: nn.Module, batches: Batches) -> Evaluation:
    """The model with its weights rounded to int8 and back; activations, biases and normalisation stay as they are.

    The model is as before when it returns or raises.
    """
    with _replacing(model) as (center, put):
        put([int8(w) for w in center])
        return evaluate(model, batches() if callable(batches) else batches)


def int8(weight: Tensor) -> Tensor:
    """The nearest of 255 levels, -127 s to 127 s with s = max |w| / 127 for each output channel (first index).

    Tensors of one index (biases, normalisation) come back as they are. The error is at most s / 2.
    """
    if weight.dim() < 2:
        return weight
    step = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True) / 127
    step = torch.where(step == 0, torch.ones_like(step), step)
    return (weight / step).round().clamp(-127, 127) * step


@contextmanager
def _replacing(model: nn.Module) -> Iterator[tuple[list[Tensor], Callable[[list[Tensor]], None]]]:
    parameters = list(model.parameters())
    center = [p.detach().clone() for p in parameters]

    def put(weights: list[Tensor]) -> None:
        with torch.no_grad():
            for p, w in zip(parameters, weights, strict=True):
                p.copy_(w)

    with undisturbed(model):
        yield center, put


def _stderr(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    return statistics.stdev(values) / math.sqrt(len(values)) if all(map(math.isfinite, values)) else math.nan
