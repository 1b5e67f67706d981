"""Losses whose Hessian is known, and a small network in float64, for the tests of the instruments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ONE", "Quadratic", "batches_of", "images", "mean", "net"]

ONE = [(torch.zeros(1), torch.zeros(1))]


class Quadratic(nn.Module):
    """L(w) = w H w / 2 with H of a given spectrum, whatever the batch; w in two parameters where it can be cut."""

    def __init__(self, spectrum: list[float]) -> None:
        super().__init__()
        torch.manual_seed(0)
        n = len(spectrum)
        basis, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
        self.h = basis @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ basis.T
        w = torch.randn(n, dtype=torch.float64)
        self.weight = nn.Parameter(w[: n // 2])
        self.bias = nn.Parameter(w[n // 2 :])

    def forward(self, x: Tensor) -> Tensor:
        w = torch.cat([self.weight, self.bias])
        return (w @ self.h @ w / 2).expand(len(x))


def mean(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.mean()


def net(seed: int = 2) -> nn.Sequential:
    """Convolution, BatchNorm with statistics of its own, dropout, head: 159 weights, for [N, 1, 5, 5]."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    with torch.no_grad():
        for _ in range(3):
            model(images(20, seed=seed + 10)[0])
    return model


def images(n: int, seed: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 5, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (n,), generator=generator)


def batches_of(size: int, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))
