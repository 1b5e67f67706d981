"""Noise that differs between the forward and the backward pass: what ShakeDrop and Shake-Shake are made of.

A factor a is drawn for the forward pass and another, b, for the backward pass. Both are drawn in the forward pass from
torch's default generator of the tensor's device, so that whoever restores that generator sees the same noise again, as
SAM's second pass does. It is plain arithmetic on tensors and can be differentiated twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ShakeDrop", "scale_apart", "shake_shake"]


def scale_apart(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """forward * x, whose gradient with respect to x is backward; both factors broadcast against x."""
    return backward * x + ((forward - backward) * x).detach()


def shake_shake(first: Tensor, second: Tensor, training: bool) -> Tensor:
    """alpha first + (1 - alpha) second, both [N, C, H, W]; gradients beta and 1 - beta (Gastaldi 2017, sec. 1.1).

    alpha, beta ~ U[0, 1], one of each for every image; both 1/2 outside training.
    """
    if not training:
        return (first + second) / 2
    return second + scale_apart(first - second, _uniform(first), _uniform(first))


class ShakeDrop(nn.Module):
    """(b + alpha - b alpha) x forward and b + beta - b beta backward (Yamada et al. 2018, arXiv:1802.02375, eq. 6).

    b ~ Bernoulli(keep), alpha ~ U[-1, 1], beta ~ U[0, 1], one of each for every image; outside training the expected
    factor, keep.
    """

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.keep * x
        kept = (_uniform(x) < self.keep).to(x.dtype)
        alpha = 2 * _uniform(x) - 1
        return scale_apart(x, kept + (1 - kept) * alpha, kept + (1 - kept) * _uniform(x))

    def extra_repr(self) -> str:
        """What print(model) shows of it."""
        return f"keep={self.keep}"


def _uniform(x: Tensor) -> Tensor:
    """[N, 1, 1, 1] of U[0, 1], for x [N, C, H, W]."""
    return torch.rand((len(x), 1, 1, 1), dtype=x.dtype, device=x.device)
