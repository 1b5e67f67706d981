"""Lanczos against dense linear algebra."""

from __future__ import annotations

import torch

from lastsam_core.flatness.krylov import lanczos


def matrix(n: int) -> torch.Tensor:
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return (a + a.T) / 2


def test_the_operator_is_tridiagonal_in_the_basis() -> None:
    a = matrix(40)
    found = lanczos(lambda v: a @ v, torch.ones(40, dtype=torch.float64), steps=15)
    q = found.basis
    torch.testing.assert_close(q @ q.T, torch.eye(15, dtype=torch.float64), atol=1e-13, rtol=0)
    t = torch.diag(found.diagonal) + torch.diag(found.beside, 1) + torch.diag(found.beside, -1)
    torch.testing.assert_close(q @ a @ q.T, t, atol=1e-12, rtol=0)


def test_estimated_residuals_are_the_residuals() -> None:
    a = matrix(40)
    found = lanczos(lambda v: a @ v, torch.ones(40, dtype=torch.float64), steps=15)
    values, vectors = found.ritz()
    u = vectors.T @ found.basis
    torch.testing.assert_close(found.estimated_residuals(), (u @ a - values[:, None] * u).norm(dim=1))


def test_it_stops_where_the_space_is_exhausted() -> None:
    a = torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0, 5.0], dtype=torch.float64))
    start = torch.ones(5, dtype=torch.float64)
    found = lanczos(lambda v: a @ v, start, steps=5)
    torch.testing.assert_close(found.ritz()[0], torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    assert found.rest == 0


def test_new_directions_find_the_rest() -> None:
    a = torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0, 5.0], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    again = lambda: torch.randn(5, dtype=torch.float64, generator=generator)  # noqa: E731
    found = lanczos(lambda v: a @ v, torch.ones(5, dtype=torch.float64), steps=9, again=again)
    torch.testing.assert_close(found.ritz()[0], a.diagonal())
    assert len(found.basis) == 5


def test_full_reorthogonalisation_brings_no_ghosts_in_single_precision() -> None:
    values = torch.tensor([100.0, 10.0, *([1.0 / i for i in range(1, 59)])])
    found = lanczos(lambda v: values * v, torch.ones(60), steps=30)
    assert (found.ritz()[0] > 5).sum() == 2
