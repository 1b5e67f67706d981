"""torch's GradScaler for a step of several passes: unscale after each, decide once.

fp16 gradients need a scaled loss (Micikevicius et al. 2018, sec. 3.2). A scaler expects one gradient a step; here there
are two or more, on several ranks perhaps, and the step is taken or skipped as a whole. So gradients are unscaled here
(by a power of two unless the user chose otherwise: exact), and the scaler is told the one decision.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* (multi-tensor kernels) have no public names; torch.optim is built on them.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

__all__ = ["LossScale"]


class LossScale:
    """What a step does with a scaler; with None, or one that is not enabled, nothing."""

    def __init__(self, scaler: GradScaler | None) -> None:
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call backward on."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, gradients: Sequence[Tensor | None]) -> None:
        """Divides by the scale, in place; the host waits for nothing."""
        present = [g for g in gradients if g is not None]
        if self.scaler is None or not present:
            return
        device = present[0].device
        inverse = self.scaler.scale(torch.ones((), device=device)).double().reciprocal()
        if device.type == "cpu":
            for g in present:
                g.mul_(inverse.to(g))
        else:
            torch._foreach_mul_(present, inverse.to(present[0]))

    def update(self, healthy: bool, device: torch.device) -> None:
        """Tells the scaler once a step: it backs off after a bad one and grows after many good ones."""
        if self.scaler is None:
            return
        # The scaler learns of overflows by unscaling an optimizer's gradients: this one's say what was decided.
        told = torch.zeros(1, device=device, requires_grad=True)
        told.grad = torch.full((1,), 0.0 if healthy else torch.inf, device=device)
        self.scaler.unscale_(torch.optim.SGD([told], lr=0.0))
        self.scaler.update()
