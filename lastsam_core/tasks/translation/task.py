"""The task of a translator: cross-entropy of each target token given the source and the tokens before it."""

from __future__ import annotations

import torch
from torch import nn

from lastsam_core.models.transformer import PAD
from lastsam_core.tasks.interface import Scored
from lastsam_core.tasks.translation.batches import Pairs

__all__ = ["Translation"]


class Translation:
    """Mean over the target tokens, EOS included and PAD not, of the smoothed cross-entropy, in nats.

    label_smoothing e in [0, 1): the true token has probability 1 - e + e/V, every other e/V (Szegedy et al. 2016, as
    torch has it; fairseq spreads e over the V - 1 others, a difference of e/V).
    """

    def __init__(self, *, label_smoothing: float = 0.1, pad: int = PAD) -> None:
        self._criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing, ignore_index=pad)
        self._pad = pad

    def score(self, model: nn.Module, batch: Pairs) -> Scored:
        """Right where the largest logit is the true token's, the true ones before it being given."""
        wanted = batch.target[:, 1:]
        logits = model(batch.source, batch.target[:, :-1])
        with torch.no_grad():
            right = ((logits.argmax(dim=2) == wanted) & (wanted != self._pad)).sum()
        return Scored(loss=self._criterion(logits.flatten(0, 1), wanted.flatten()), right=right)

    def units(self, batch: Pairs) -> int:
        """Target tokens."""
        return sum(batch.lengths)

    def parts(self, batch: Pairs, size: int) -> list[Pairs]:
        """Parts of `size` sentence pairs; the mean of their losses, weighted by their units, is the batch's."""
        return [
            Pairs(
                source=batch.source[a : a + size],
                target=batch.target[a : a + size],
                lengths=batch.lengths[a : a + size],
            )
            for a in range(0, len(batch.lengths), size)
        ]
