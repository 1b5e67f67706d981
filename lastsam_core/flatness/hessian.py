"""The Hessian of the mean loss over S at the weights: its largest eigenvalues, with residuals, and its trace.

Products H v are exact, by double backward through a loss in evaluation mode (Pearlmutter 1994), and a mean over images
whatever the batches. lambda_1 / lambda_5 is the ratio that Foret et al. 2021 (fig. 3) compare SAM and SGD by.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lastsam_core.errors import Diverged
from lastsam_core.flatness.krylov import Krylov, lanczos
from lastsam_core.flatness.surroundings import Batches, Criterion, losses, normal, trainable, undisturbed

__all__ = ["HessianProduct", "HessianSpectrum", "hessian_spectrum"]

_BLOCK = 8  # vectors that share a forward and a first backward; each costs a copy of the parameters


@dataclass(frozen=True, kw_only=True)
class HessianSpectrum:
    """What was found of the Hessian H of L_S, in the loss's unit per squared weight."""

    eigenvalues: tuple[float, ...]
    """The k largest, descending."""
    residuals: tuple[float, ...]
    """||H v - lambda v|| of each, v its unit vector: an eigenvalue lies within so much of lambda."""
    lowest: float
    """The lowest Ritz value: some direction bends at least so far down where it is negative."""
    trace: float | None
    """Estimate of the trace; None where no probes were asked for."""
    trace_stderr: float | None
    """Its standard error over the probes."""
    products: int
    """Hessian-vector products that it took."""
    dimension: int
    """Number of weights: parameters that require gradients."""

    @property
    def ratio_1_5(self) -> float | None:
        """lambda_1 / lambda_5; None where there are fewer than five, or the fifth is not positive."""
        if len(self.eigenvalues) < 5 or not self.eigenvalues[4] > 0:
            return None
        return self.eigenvalues[0] / self.eigenvalues[4]


class HessianProduct:
    """v -> H v at the model's present weights and in its present mode, over the parameters that require gradients."""

    def __init__(self, model: nn.Module, batches: Batches, criterion: Criterion) -> None:
        self._model, self._batches, self._criterion = model, batches, criterion
        self._parameters = [leaf.parameter for leaf in trainable(model)]
        self._sizes = [p.numel() for p in self._parameters]
        self.dimension = sum(self._sizes)
        self.count = 0

    def __call__(self, vectors: Tensor) -> Tensor:
        """vectors [n], or several as rows [b, n], in the parameters' order -> the same shape.

        Several share each batch's forward and first backward. Diverged where the product is not finite.
        """
        rows = vectors.detach().reshape(-1, self.dimension)
        results = torch.zeros_like(rows)
        total = 0
        with torch.enable_grad():
            for loss, n in losses(self._model, self._batches, self._criterion):
                total += n
                self._add(results, rows, loss * n)
        self.count += len(rows)
        results /= total
        if not bool(results.isfinite().all()):
            raise Diverged("The Hessian at these weights is not finite.")
        return results.reshape(vectors.shape)

    def random(self, seed: int) -> Tensor:
        """Random signs [n], drawn on the CPU: the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (self.dimension,), generator=generator) * 2 - 1
        return signs.to(self._parameters[0])

    def _add(self, results: Tensor, rows: Tensor, loss: Tensor) -> None:
        first = torch.autograd.grad(loss, self._parameters, create_graph=True, allow_unused=True)
        # Where the loss is linear in a parameter, its gradient has no graph and its rows of H are zero.
        bent = [i for i, g in enumerate(first) if g is not None and g.requires_grad]
        gradients = [g for i in bent if (g := first[i]) is not None]
        if not gradients:
            return
        for row, result in zip(rows, results, strict=True):
            parts = [part.view_as(p) for part, p in zip(row.split(self._sizes), self._parameters, strict=True)]
            second = torch.autograd.grad(
                gradients, self._parameters, [parts[i] for i in bent], retain_graph=True, allow_unused=True
            )
            for into, g in zip(result.split(self._sizes), second, strict=True):
                if g is not None:
                    into.add_(g.reshape(-1))


def hessian_spectrum(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    k: int = 5,
    *,
    iterations: int = 40,
    tolerance: float = 1e-3,
    probes: int = 8,
    seed: int = 0,
) -> HessianSpectrum:
    """The k largest eigenvalues of the Hessian at the model's present weights, and its trace.

    Lanczos' method with full reorthogonalisation, until each of the k has a residual below `tolerance` times the
    largest; then one more product with each vector measures the residuals. (An eigenvalue that several directions
    share exactly may be counted too seldom.) The trace is exact on the Lanczos basis Q and Hutchinson's estimate on
    its complement: tr(Q H Q') + E[z' P H P z], P = 1 - Q'Q, random signs z (Meyer et al. 2021's Hutch++ with this Q).
    Each product costs about three passes with gradients over S. Memory: (iterations + 8) copies of the parameters.
    The model is as before when it returns or raises.

    Args:
        batches, criterion: as in `sharpness`.
        k: how many, >= 1; fewer come back where the model has fewer weights.
        iterations: of Lanczos at most, >= k. Where they do not suffice, the residuals say so.
        tolerance: relative residual at which to stop, >= 0.
        probes: random vectors for the trace; 0 leaves it out.

    Raises:
        ValueError: an argument out of range, an empty S, a model without trainable parameters.
        Diverged: the Hessian is not finite.
    """
    if k < 1 or iterations < k or probes < 0 or not tolerance >= 0:
        raise ValueError("k must be at least 1, iterations at least k, probes and tolerance at least 0")
    with undisturbed(model):
        product = HessianProduct(model, batches, criterion)
        seeds = iter(range(seed + probes, seed + probes + iterations + 1))
        start = product.random(next(seeds))
        space = lanczos(
            product,
            start,
            steps=iterations,
            enough=_converged(k, tolerance),
            # Signs would lie within the space now and then where weights are few.
            again=lambda: normal([start], next(seeds))[0],
        )
        values, vectors = space.ritz()
        top = min(k, len(values))
        largest = values[-top:].flip(0)
        eigenvectors = vectors[:, -top:].flip(1).T.to(space.basis) @ space.basis
        left = product(eigenvectors) - largest.to(eigenvectors)[:, None] * eigenvectors
        trace, stderr = _trace(product, space, probes, seed)
    return HessianSpectrum(
        eigenvalues=tuple(largest.tolist()),
        residuals=tuple(torch.linalg.vector_norm(left.double(), dim=1).tolist()),
        lowest=float(values[0]),
        trace=trace,
        trace_stderr=stderr,
        products=product.count,
        dimension=product.dimension,
    )


def _converged(k: int, tolerance: float) -> Callable[[Krylov], bool]:
    def enough(space: Krylov) -> bool:
        # Where the space has closed (rest 0), eigenvalues may have further directions outside of it.
        if len(space.diagonal) < k or space.rest == 0:
            return False
        largest = float(space.ritz()[0].abs().max())
        return float(space.estimated_residuals()[-k:].max()) <= tolerance * largest

    return enough


def _trace(product: HessianProduct, space: Krylov, probes: int, seed: int) -> tuple[float | None, float | None]:
    inside = float(space.diagonal.sum())
    if len(space.basis) == product.dimension:
        return (inside, 0.0) if probes else (None, None)
    samples: list[float] = []
    for begin in range(0, probes, _BLOCK):
        z = torch.stack([product.random(seed + i) for i in range(begin, min(begin + _BLOCK, probes))])
        z = z - (z @ space.basis.T) @ space.basis
        samples += (z.double() * product(z).double()).sum(dim=1).tolist()
    if not samples:
        return None, None
    stderr = statistics.stdev(samples) / math.sqrt(probes) if probes > 1 else None
    return inside + statistics.fmean(samples), stderr
