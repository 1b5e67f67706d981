"""What a recipe does to the training set before any batch is made: label noise, and training on fewer images.

Both are functions of the seed and of an image's place in the full training set, so that neither a held-out subset nor
the batch size changes which labels are wrong. Selection and evaluation always see the clean labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lastsam_core.data.chance import order, words

__all__ = ["limited", "noisy_labels"]


def noisy_labels(labels: NDArray[np.int64], rate: float, classes: int, seed: int) -> NDArray[np.int64]:
    """Symmetric noise (Foret et al. 2021, sec. 4.3): round(rate x N) labels become one of the other classes, uniformly.

    So the rate is the share that is wrong, exactly; code that draws from all classes, the right one included, makes
    rate / classes fewer wrong at the same figure. labels: int64 [N], the whole training set; a new array comes back.
    """
    noisy = labels.copy()
    wrong = order(len(labels), seed, "noise", "which")[: round(rate * len(labels))]
    shift = 1 + words(len(labels), seed, "noise", "class")[wrong] % np.uint64(classes - 1)
    noisy[wrong] = (labels[wrong] + shift.astype(np.int64)) % classes
    return noisy


def limited(index: NDArray[np.int64], limit: int | None, seed: int) -> NDArray[np.int64]:
    """A fixed random subset, sorted, of at most `limit` of the given image indices; not stratified. None: all."""
    if limit is None or limit >= len(index):
        return index
    return np.sort(index[order(len(index), seed, "limit")[:limit]])
