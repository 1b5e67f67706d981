"""Telling a collapsed network from a worse one: what has collapsed is never delivered.

A radius or a learning rate that is too large can end in weights that answer at random with every loss finite, so the
guard against NaN sees nothing. The question is asked once, at the end, on a fixed sample of the images that trained,
in evaluation mode: images that report must not decide anything.
"""

from __future__ import annotations

__all__ = ["collapsed"]

KEPT = 0.25
"""A network that keeps less than this share of its lead over chance has collapsed."""
LEAD = 0.1
"""Below this lead there is nothing to lose: a fresh head, a network of another dataset."""


def collapsed(before: float, after: float, num_classes: int) -> bool:
    """Whether accuracy (a fraction) fell from `before` to next to chance, 1 / num_classes."""
    chance = 1 / num_classes
    lead = before - chance
    return lead > LEAD and after - chance < KEPT * lead
