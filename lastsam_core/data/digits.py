"""The built-in dataset: scikit-learn's 1,797 handwritten digits, made large enough for CIFAR architectures.

They come with scikit-learn, so that a demonstration or a test needs no download. 8 x 8 pixels of 0 to 16 become 32 x
32 x 3 of 0 to 255, each pixel repeated 4 x 4 times; one image in five of each class is the test part, always the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lastsam_core.data.chance import stratified
from lastsam_core.errors import UnknownDataset

__all__ = ["digits"]


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """x_train uint8 [1438, 32, 32, 3], y_train int64 [1438], x_test, y_test [359].

    UnknownDataset without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as why:
        raise UnknownDataset(
            'the dataset "digits" comes with scikit-learn, which is not installed here',
            hint="pip install scikit-learn",
        ) from why
    small, labels = load_digits(return_X_y=True)
    grey = np.rint(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=3)
    test = np.zeros(len(labels), dtype=bool)
    test[stratified(labels, 0.2, 0, "digits", "test")] = True
    labels = labels.astype(np.int64)
    return images[~test], labels[~test], images[test], labels[test]
