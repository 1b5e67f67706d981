"""Chance that does not depend on the machine: numbers that are functions of (seed, purpose, index) and of nothing else.

Which images are held out, and which labels are noisy, must be the same in ten years on another version of numpy or
torch, whose own generators promise no such thing. So these come from a counter put through SplitMix64's finaliser
(Steele, Lea and Flood 2014), keyed by a sha256 of the seed and the purpose.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["order", "seed_for", "stratified", "words"]


def seed_for(seed: int, *purpose: str | int) -> int:
    """A seed (0 to 2^63 - 1) for one purpose; different purposes give unrelated seeds."""
    text = "/".join(["lastsam", str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def words(count: int, seed: int, *purpose: str | int) -> NDArray[np.uint64]:
    """uint64 [count]: word i is uniform and does not depend on `count`."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed_for(seed, *purpose))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def order(count: int, seed: int, *purpose: str | int) -> NDArray[np.int64]:
    """A permutation of 0..count-1, int64 [count]."""
    return np.argsort(words(count, seed, *purpose), kind="stable")


def stratified(labels: NDArray[np.integer], fraction: float, seed: int, *purpose: str | int) -> NDArray[np.int64]:
    """Sorted indices, int64, of round(fraction x n_c) images of each class c; labels: int [N]."""
    shuffled = order(len(labels), seed, *purpose)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    picked = [by_class[a : a + round(fraction * int(n))] for a, n in zip(starts, sizes, strict=True)]
    return np.sort(np.concatenate(picked))
