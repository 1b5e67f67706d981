"""Weights away from home for a while: w + eps inside a step, w bit for bit after it, in the same storage.

The way back is a copy, since (w + eps) - eps is not w in floating point.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* (multi-tensor kernels) have no public names; torch.optim is built on them.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lastsam_core.gradients import norm

__all__ = ["Displacement", "Spare"]


class Spare:
    """Copies of parameters, kept from step to step so that none is allocated anew."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def like(self, i: int, weight: Tensor) -> Tensor:
        """A tensor like `weight`, the same one for the same place `i`."""
        kept = self._kept.get(i)
        if kept is None or kept.shape != weight.shape or kept.dtype != weight.dtype or kept.device != weight.device:
            self._kept[i] = kept = torch.empty_like(weight, requires_grad=False)
        return kept


class Displacement:
    """Some weights and where they were when this was made; `back` returns them.

    unseen: autograd does not notice the moves. A graph that was recorded at w stays usable once the weights are back.
    """

    def __init__(self, weights: Sequence[Tensor], places: Sequence[int], spare: Spare, *, unseen: bool) -> None:
        self._weights = [w.data for w in weights] if unseen else list(weights)
        self.home = [spare.like(i, w) for i, w in zip(places, weights, strict=True)]
        if self._weights:
            torch._foreach_copy_(self.home, self._weights)

    def move(self, eps: Sequence[Tensor]) -> None:
        """Add eps to where the weights are."""
        if self._weights:
            torch._foreach_add_(self._weights, list(eps))

    def distance(self) -> Tensor:
        """||w_now - w||_2, 0-dim."""
        return norm(torch._foreach_sub(self._weights, self.home)) if self._weights else torch.zeros(())

    def back(self) -> None:
        """Put the weights back, bit for bit."""
        if self._weights:
            torch._foreach_copy_(self._weights, self.home)
