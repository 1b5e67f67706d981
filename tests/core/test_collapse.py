"""A collapsed network is told from a worse one, and never delivered."""

from __future__ import annotations

import pytest

from lastsam_core.collapse import collapsed


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [(0.99, 0.10, 10), (0.99, 0.30, 10), (0.92, 0.0, 10), (0.75, 0.012, 100), (0.98, 0.51, 2)],
)
def test_next_to_chance_is_collapse(before: float, after: float, classes: int) -> None:
    assert collapsed(before, after, classes)


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [
        (0.99, 0.57, 10),  # LastSAM-SAM at rho 5: bad, and reported as such
        (0.99, 0.99, 10),
        (0.60, 0.40, 10),
        (0.10, 0.10, 10),  # a fresh head has nothing to lose
        (0.15, 0.10, 10),
        (0.75, 0.30, 100),
        (0.98, 0.65, 2),
    ],
)
def test_worse_is_not_collapse(before: float, after: float, classes: int) -> None:
    assert not collapsed(before, after, classes)
