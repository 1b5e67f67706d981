"""Reliability: how often a classifier is right when it says how sure it is (Guo et al. 2017, fig. 1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lastsam_core.evaluation import BINS, evaluating

__all__ = ["ReliabilityBin", "calibration_error", "reliability"]


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The images whose confidence, the largest probability, lies in (lower, upper]."""

    lower: float
    upper: float
    n: int
    """Images in the bin; the two means are None where there are none."""
    confidence: float | None
    """Mean confidence; above `accuracy` the model is overconfident."""
    accuracy: float | None
    """Share of them that it gets right."""


def reliability(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, bins: int = BINS
) -> list[ReliabilityBin]:
    """The reliability diagram of `model` (logits [B, K]) in evaluation mode; the bins that `evaluate` takes ECE over.

    Images whose logits are not finite are in no bin. ValueError for bins < 1 or an empty set.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    sums = torch.zeros(3, bins, dtype=torch.float64)
    seen = 0
    with evaluating(model), torch.no_grad():
        for x, y in batches:
            logits = model(x).double()
            seen += len(y)
            confidence, predicted = logits.softmax(dim=1).max(dim=1)
            sound = logits.isfinite().all(dim=1)
            confidence, right = confidence[sound].cpu(), (predicted == y)[sound].double().cpu()
            place = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
            sums.index_add_(1, place, torch.stack([torch.ones_like(right), confidence, right]))
    if not seen:
        raise ValueError("there is nothing to measure on: no batch was given")
    return [
        ReliabilityBin(
            lower=i / bins,
            upper=(i + 1) / bins,
            n=int(n),
            confidence=confident / n if n else None,
            accuracy=right / n if n else None,
        )
        for i, (n, confident, right) in enumerate(sums.T.tolist())
    ]


def calibration_error(bins: list[ReliabilityBin]) -> float:
    """ECE of a diagram: the mean over images of |accuracy - confidence| of their bin (Guo et al. 2017, eq. 3)."""
    total = sum(one.n for one in bins)
    gaps = (one.n * abs(one.accuracy - one.confidence) for one in bins if one.accuracy is not None and one.confidence)
    return sum(gaps) / total if total else 0.0
