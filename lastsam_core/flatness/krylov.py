"""Lanczos' tridiagonalisation of a symmetric operator, with full reorthogonalisation (Golub and Van Loan, 10.3).

Without reorthogonalisation rounding brings converged directions back as ghosts; with it m steps cost m^2 n more
additions, nothing beside m Hessian-vector products of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Krylov", "lanczos"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Krylov:
    """An orthonormal basis Q in which the operator is tridiagonal: Q A Q' = T."""

    basis: Tensor
    """Q [m, n], rows orthonormal."""
    diagonal: Tensor
    """T's diagonal, float64 [m] on the CPU."""
    beside: Tensor
    """What stands beside it, float64 [m - 1]; 0 where a new random direction was begun."""
    rest: float
    """Norm of what the operator leads out of the basis to."""

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of T, ascending [m], and its eigenvectors in columns [m, m]; float64 on the CPU."""
        t = torch.diag(self.diagonal) + torch.diag(self.beside, 1) + torch.diag(self.beside, -1)
        return torch.linalg.eigh(t)

    def estimated_residuals(self) -> Tensor:
        """||A u - theta u|| of each Ritz pair in exact arithmetic: rest |last element of its eigenvector|, [m]."""
        return self.rest * self.ritz()[1][-1].abs()


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int,
    enough: Callable[[Krylov], bool] = lambda _: False,
    again: Callable[[], Tensor] | None = None,
) -> Krylov:
    """At most `steps` steps from `start` [n], fewer where the space is exhausted or `enough` says so after a step.

    product: x [n] -> A x [n], A symmetric. again: gives random directions to go on with where the Krylov space closes
    early (so that an eigenvalue's second direction can be found); None ends there.
    """
    n = start.numel()
    basis = start.new_empty(min(steps, n), n)
    basis[0] = start / torch.linalg.vector_norm(start)
    diagonal: list[float] = []
    beside: list[float] = []
    largest = 0.0
    while True:
        j = len(diagonal)
        w = product(basis[j])
        diagonal.append(float(basis[j] @ w))
        w = _orthogonal(w, basis[: j + 1])
        rest = float(torch.linalg.vector_norm(w))
        largest = max(largest, abs(diagonal[-1]), rest)
        closed = rest <= 64 * torch.finfo(w.dtype).eps * largest
        done = Krylov(
            basis=basis[: j + 1],
            diagonal=torch.tensor(diagonal, dtype=torch.float64),
            beside=torch.tensor(beside, dtype=torch.float64),
            rest=0.0 if closed else rest,
        )
        if j + 1 == len(basis) or enough(done) or (closed and again is None):
            return done
        if closed:
            assert again is not None
            w, beside_next = _orthogonal(again(), basis[: j + 1]), 0.0
            rest = float(torch.linalg.vector_norm(w))
        else:
            beside_next = rest
        beside.append(beside_next)
        basis[j + 1] = w / rest


def _orthogonal(w: Tensor, basis: Tensor) -> Tensor:
    # Twice is enough (Parlett): once leaves what cancellation has left.
    for _ in range(2):
        w = w - basis.T @ (basis @ w)
    return w
