"""One label an image: cross-entropy with label smoothing, on batches (x [B, ...], y).

y is int64 [B], or float [B, K] with each row a distribution over the classes (mixed images).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lastsam_core.tasks.interface import Scored

__all__ = ["Classification"]

Batch = tuple[Tensor, Tensor]


class Classification:
    """The task of all image classifiers; label_smoothing: in [0, 1), of this loss only."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self._criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def score(self, model: nn.Module, batch: Batch) -> Scored:
        """Mean cross-entropy; right where the largest logit is the (heaviest) label's."""
        x, y = batch
        logits = model(x)
        target = y if y.dim() == 1 else y.argmax(dim=1)
        with torch.no_grad():
            right = (logits.argmax(dim=1) == target).sum()
        return Scored(loss=self._criterion(logits, y), right=right)

    def units(self, batch: Batch) -> int:
        """The number of images."""
        return len(batch[1])

    def parts(self, batch: Batch, size: int) -> list[Batch]:
        """Parts of `size` images; a single image that is left over joins the last part.

        BatchNorm has no variance to take from one image. With size 1 that is what was asked for.
        """
        n = self.units(batch)
        sizes = [min(size, n - a) for a in range(0, n, size)]
        if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size + 1]
        return list(zip(batch[0].split(sizes), batch[1].split(sizes), strict=True))
