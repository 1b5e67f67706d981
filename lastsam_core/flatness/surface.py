"""The loss over S as a function of v in the geometry of a perturbation: L_S(w + T v), with T = 1 or ASAM's T.

Both balls, ||eps|| <= rho and ||T^-1 eps|| <= rho, are ||v|| <= rho here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lastsam_core.errors import Diverged
from lastsam_core.flatness.surroundings import (
    Batches,
    Criterion,
    losses,
    mean_loss,
    normal,
    trainable,
    undisturbed,
)
from lastsam_core.perturbation import Perturbation, global_norm, scale

__all__ = ["Surface", "rescaled", "rise", "surface"]


class Surface:
    """L_S(w + T v); v is a list of tensors shaped as the parameters that require gradients.

    Made by `surface`, which puts the weights back.
    """

    def __init__(self, model: nn.Module, batches: Batches, criterion: Criterion, spec: Perturbation) -> None:
        self._model, self._criterion = model, criterion
        self.batches = batches
        leaves = trainable(model)
        self._parameters = [leaf.parameter for leaf in leaves]
        self._center = [p.detach().clone() for p in self._parameters]
        self._t = [scale(spec, leaf) for leaf in leaves]

    def loss(self, v: Sequence[Tensor] | None) -> float:
        """L_S(w + T v); None is v = 0."""
        self._move(v)
        return mean_loss(self._model, self.batches, self._criterion)

    def with_gradient(self, v: Sequence[Tensor] | None) -> tuple[float, list[Tensor]]:
        """L_S(w + T v) and its gradient in v, which is T times the one in the weights."""
        self._move(v)
        total, count = torch.zeros((), dtype=torch.float64, device=self._parameters[0].device), 0
        sums = [torch.zeros_like(p) for p in self._center]
        with torch.enable_grad():
            for loss, n in losses(self._model, self.batches, self._criterion):
                for into, g in zip(
                    sums, torch.autograd.grad(loss * n, self._parameters, allow_unused=True), strict=True
                ):
                    if g is not None:
                        into.add_(g)
                total += loss.detach().double() * n
                count += n
        return float(total) / count, self._scaled([s / count for s in sums])

    def center(self) -> tuple[float, list[Tensor]]:
        """Loss and gradient at v = 0; Diverged where the loss is not finite."""
        loss, gradient = self.with_gradient(None)
        _finite(loss)
        return loss, gradient

    def base_loss(self) -> float:
        """Loss at v = 0; Diverged where it is not finite."""
        return _finite(self.loss(None))

    def random(self, seed: int) -> list[Tensor]:
        """A standard normal v."""
        return normal(self._center, seed)

    def _scaled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [x if t is None else t * x for t, x in zip(self._t, tensors, strict=True)]

    def _move(self, v: Sequence[Tensor] | None) -> None:
        with torch.no_grad():
            for p, w in zip(self._parameters, self._center, strict=True):
                p.copy_(w)
            if v is not None:
                for p, eps in zip(self._parameters, self._scaled(v), strict=True):
                    p.add_(eps)


@contextmanager
def surface(model: nn.Module, batches: Batches, criterion: Criterion, spec: Perturbation) -> Iterator[Surface]:
    """The surface around the model's present weights; the model is as it was when the block is left."""
    with undisturbed(model):
        yield Surface(model, batches, criterion, spec)


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise Diverged(f"the loss at the weights themselves is {loss}")
    return loss


def rise(loss: float, base_loss: float) -> float:
    """loss - base_loss; infinite where the loss is not a number."""
    return math.inf if math.isnan(loss) else loss - base_loss


def rescaled(v: Sequence[Tensor], rho: float) -> list[Tensor]:
    """v with norm rho; v itself where it is zero."""
    norm = float(global_norm(v))
    return [t * (rho / norm) for t in v] if norm else list(v)
