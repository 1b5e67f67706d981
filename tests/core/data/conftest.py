from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lastsam_core.data import Dataset


@pytest.fixture
def arrays() -> Callable[..., dict[str, Any]]:
    """A factory of what a dataset's file holds; keywords replace arrays, None leaves one out."""

    def make(**changed: Any) -> dict[str, Any]:
        chance = np.random.default_rng(5)
        made: dict[str, Any] = {
            "x_train": chance.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8),
            "y_train": np.arange(40, dtype=np.uint8) % 4,
            "x_test": chance.integers(0, 256, (21, 8, 8, 3), dtype=np.uint8),
            "y_test": np.arange(21, dtype=np.int32) % 4,
            "classes": np.array(["ant", "bee", "cat", "dog"]),
        }
        return {key: value for key, value in (made | changed).items() if value is not None}

    return make


@pytest.fixture
def npz(tmp_path: Path, arrays: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """A factory of data directories with one dataset file in it."""

    def make(name: str = "tiny", compressed: bool = False, **changed: Any) -> Path:
        (np.savez_compressed if compressed else np.savez)(tmp_path / f"{name}.npz", **arrays(**changed))
        return tmp_path

    return make


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """A factory of datasets with `train` and `test` images of `size` pixels, classes in turn."""

    def make(train: int = 200, test: int = 90, classes: int = 4, size: int = 8, channels: int = 3) -> Dataset:
        chance = np.random.default_rng(7)
        return Dataset(
            name="made",
            x_train=chance.integers(0, 256, (train, size, size, channels), dtype=np.uint8),
            y_train=np.arange(train) % classes,
            x_test=chance.integers(0, 256, (test, size, size, channels), dtype=np.uint8),
            y_test=np.arange(test) % classes,
            classes=tuple(str(k) for k in range(classes)),
        )

    return make
