"""Bootstrapped labels: before the phase, the model's own predictions take the place of the labels that were given.

With noisy labels a trained model is right more often than they are, which is what Foret et al. 2021 set SAM beside in
sec. 4.3, Table 4 (Bootstrap). The uploaded weights predict every training image once, in evaluation mode, without
augmentation and in full precision; what chooses and what reports keeps its given, clean labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lastsam_core.data.batches import EvalBatches, resident
from lastsam_core.data.datasets import Dataset
from lastsam_core.data.noise import limited, noisy_labels
from lastsam_core.data.selection import Split
from lastsam_core.environment import full_precision
from lastsam_core.evaluation import evaluate
from lastsam_core.recipe import Channels, Recipe

__all__ = ["bootstrapped", "labels_json"]

BLOCK = 10_000  # images on the device at a time


def bootstrapped(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    channels: Channels,
    *,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """int32 [N] on the CPU: what the model says of all training images, or what was given where it says NaN.

    check: called between blocks; it may raise to interrupt.
    """
    given = _given(dataset, recipe)
    found = np.empty(len(given), dtype=np.int64)
    for a in range(0, len(given), BLOCK):
        check()
        index = np.arange(a, min(a + BLOCK, len(given)))
        with full_precision():
            images, labels = resident(dataset.x_train, given, index, device)
            said = evaluate(model, EvalBatches(images, labels, channels=channels)).predictions.numpy()
        found[index] = np.where(said < 0, given[index], said)
    return torch.from_numpy(found.astype(np.int32))


def labels_json(dataset: Dataset, split: Split, recipe: Recipe, labels: Tensor | None) -> dict[str, Any]:
    """For the receipt, over the images that train: how many labels noise made wrong, predictions changed and repaired.

    labels: what `bootstrapped` gave, or None. spoiled: labels that were right and are no longer.
    """
    index = limited(split.train_index, recipe.data.train_limit, recipe.seed)
    clean, given = dataset.y_train[index], _given(dataset, recipe)[index]
    used = given if labels is None else labels.cpu().numpy()[index]
    noisy = given != clean
    return {
        "kind": recipe.data.labels,
        "n": len(index),
        "noisy": int(noisy.sum()),
        "changed": int((used != given).sum()),
        "repaired": int((noisy & (used == clean)).sum()),
        "spoiled": int((~noisy & (used != clean)).sum()),
    }


def _given(dataset: Dataset, recipe: Recipe) -> NDArray[np.int64]:
    return noisy_labels(dataset.y_train, recipe.data.label_noise, len(dataset.classes), recipe.seed)
