"""Stripes that run one of four ways, in noise: a dataset that is made rather than read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastsam_core.data import Dataset

__all__ = ["stripes"]

CLASSES = ("level", "upright", "rising", "falling")
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # across, down


def stripes(data_dir: Path) -> Dataset:
    """1,600 training and 400 test images of 32 x 32 pixels; always the same ones.

    data_dir: LASTSAM_DATA_DIR, for datasets that have files there. This one has none.
    """
    x_train, y_train = _part(1600, seed=1)
    x_test, y_test = _part(400, seed=2)
    return Dataset(name="stripes", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=CLASSES)


def _part(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    across, down = np.array(DIRECTIONS)[labels].T[:, :, None, None]
    row, column = np.mgrid[:32, :32]
    phase = chance.integers(0, 8, (n, 1, 1))
    bright = ((across * column + down * row + phase) // 4 % 2)[..., None]
    colour = chance.integers(80, 160, (n, 1, 1, 3))
    noise = chance.integers(-60, 61, (n, 32, 32, 3))
    return (bright * colour + 60 + noise).clip(0, 255).astype(np.uint8), labels
