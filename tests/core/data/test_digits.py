from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lastsam_core.data import available, load_dataset
from lastsam_core.errors import UnknownDataset

NOWHERE = Path("/nowhere")


def test_is_the_bundled_set_made_large() -> None:
    found = load_dataset("digits", NOWHERE)
    assert found.x_train.shape == (1438, 32, 32, 3)
    assert found.x_test.shape == (359, 32, 32, 3)
    assert found.x_train.dtype == np.uint8
    corners = np.concatenate([found.x_train, found.x_test])[:, ::4, ::4, :]
    assert np.array_equal(np.repeat(np.repeat(corners, 4, axis=1), 4, axis=2)[: len(found.x_train)], found.x_train)
    assert np.array_equal(corners[..., 0], corners[..., 2])
    small, labels = load_digits(return_X_y=True)
    ours = sorted(zip(np.concatenate([found.y_train, found.y_test]).tolist(), map(bytes, corners[..., 0]), strict=True))
    pixels = np.rint(small.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    assert ours == sorted(zip(labels.tolist(), map(bytes, pixels), strict=True))


def test_the_split_is_fixed_and_even() -> None:
    found = load_dataset("digits", NOWHERE)
    assert found.fingerprint == load_dataset("digits", NOWHERE).fingerprint
    share = np.bincount(found.y_test) / (np.bincount(found.y_test) + np.bincount(found.y_train))
    assert np.abs(share - 0.2).max() < 0.01


def test_the_catalogue_tells_the_same_without_loading_it() -> None:
    (row,) = (row for row in available(NOWHERE) if row.name == "digits")
    found = load_dataset("digits", NOWHERE)
    assert (row.train, row.test) == (len(found.y_train), len(found.y_test))
    assert (row.image, row.classes) == (found.x_train.shape[1:], len(found.classes))


def test_without_scikit_learn_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UnknownDataset, match="scikit-learn") as caught:
        load_dataset("digits", NOWHERE)
    assert caught.value.hint == "pip install scikit-learn"
