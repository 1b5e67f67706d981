from __future__ import annotations

import numpy as np
import pytest

from lastsam_core.data.noise import limited, noisy_labels

CLEAN = np.arange(6000) % 6


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.8])
def test_exactly_the_asked_share_is_wrong(rate: float) -> None:
    noisy = noisy_labels(CLEAN, rate, 6, seed=1)
    assert (noisy != CLEAN).sum() == round(rate * 6000)
    assert np.array_equal(CLEAN, np.arange(6000) % 6)  # the caller's labels are left alone


def test_noise_is_symmetric() -> None:
    noisy = noisy_labels(CLEAN, 0.5, 6, seed=1)
    wrong = noisy != CLEAN
    assert abs(np.bincount(CLEAN[wrong]) - 500).max() < 5 * 500**0.5
    shift = np.bincount((noisy - CLEAN)[wrong] % 6, minlength=6)
    assert shift[0] == 0
    assert abs(shift[1:] - 600).max() < 5 * 600**0.5


def test_noise_is_a_function_of_the_seed() -> None:
    assert np.array_equal(noisy_labels(CLEAN, 0.3, 6, seed=1), noisy_labels(CLEAN, 0.3, 6, seed=1))
    assert not np.array_equal(noisy_labels(CLEAN, 0.3, 6, seed=1), noisy_labels(CLEAN, 0.3, 6, seed=2))


def test_a_limit_is_a_fixed_random_subset() -> None:
    index = np.arange(100, 1100)
    some = limited(index, 50, seed=4)
    assert len(np.unique(some)) == 50
    assert set(some) < set(index)
    assert some.max() > 900
    assert np.array_equal(some, limited(index, 50, seed=4))
    assert not np.array_equal(some, limited(index, 50, seed=5))
    assert set(some) < set(limited(index, 60, seed=4))  # a larger limit adds images


@pytest.mark.parametrize("limit", [None, 1000, 5000])
def test_no_limit_is_everything(limit: int | None) -> None:
    assert np.array_equal(limited(np.arange(1000), limit, seed=4), np.arange(1000))
