"""Does a measure of flatness go with generalisation? Rank correlations over a set of checkpoints.

Kendall's tau of each measure with the generalisation gap, as in Kwon et al. 2021, table 1. It says what it says about
these checkpoints: over other sets the same measures correlate weakly or not at all (Andriushchenko et al. 2023,
arXiv:2302.07011), and over few checkpoints any tau comes by chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ENOUGH", "Kendall", "correlation", "kendall"]

ENOUGH = 10
"""Below so many checkpoints a warning goes with the figures."""

_Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kendall:
    """A rank correlation of n pairs."""

    tau: float | None
    """tau-b, -1 to 1; None where one of the two never changes, or n < 2."""
    p_value: float | None
    """Exact and two-sided: how often a random order of n gives a |tau| this large. None where there are ties."""
    n: int


def kendall(x: Sequence[float], y: Sequence[float]) -> Kendall:
    """tau-b = (C - D) / sqrt((P - X)(P - Y)): C pairs in the same order, D in opposite ones, P all n(n-1)/2 of them, X
    and Y tied ones (Kendall 1945). ValueError for different lengths.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} figures and {len(y)} figures do not make pairs")
    n = len(x)
    concordant = discordant = tied_x = tied_y = 0
    for i, j in itertools.combinations(range(n), 2):
        sign = _sign(x[i] - x[j]) * _sign(y[i] - y[j])
        concordant += sign > 0
        discordant += sign < 0
        tied_x += x[i] == x[j]
        tied_y += y[i] == y[j]
    pairs = n * (n - 1) // 2
    spread = (pairs - tied_x) * (pairs - tied_y)
    tau = (concordant - discordant) / spread**0.5 if spread else None
    untied = n > 1 and not (tied_x or tied_y)
    return Kendall(tau=tau, p_value=_p_value(n, min(concordant, discordant)) if untied else None, n=n)


def correlation(rows: Sequence[_Row]) -> dict[str, Any]:
    """{n, warning, measures: [{name, loss_gap, error_gap, n}], points: [{file, loss_gap, error_gap, ...measures}]}.

    rows: the `checkpoints` of a survey. loss_gap: test minus training NLL, nats; error_gap: test minus training error,
    a fraction; training figures are those of the survey's sample. A positive tau: the sharper, the larger the gap.
    Checkpoints for which a figure is not finite are left out of that measure's pairs.
    """
    points = [_point(row) for row in rows]
    names = list(dict.fromkeys(name for point in points for name in point if name not in _NOT_MEASURES))
    measures = []
    for name in names:
        entry: dict[str, Any] = {"name": name}
        for gap in ("loss_gap", "error_gap"):
            known = [p for p in points if p.get(name) is not None and p[gap] is not None]
            found = kendall([p[name] for p in known], [p[gap] for p in known])
            entry[gap] = {"tau": found.tau, "p_value": found.p_value, "n": found.n}
        measures.append(entry)
    few = len(rows) < ENOUGH
    warning = (
        f"{len(rows)} checkpoints are too few to conclude from: over fewer than {ENOUGH}, a large tau is often chance."
    )
    return {"n": len(rows), "warning": warning if few else None, "measures": measures, "points": points}


_NOT_MEASURES = {"file", "loss_gap", "error_gap"}


def _point(row: _Row) -> dict[str, Any]:
    test, train = row["test"], row["train"]
    known = test["nll"] is not None and train["nll"] is not None
    point: dict[str, Any] = {
        "file": row["file"],
        "loss_gap": test["nll"] - train["nll"] if known else None,
        "error_gap": train["accuracy"] - test["accuracy"],
    }
    for kind, title in (("sam", "SAM sharpness"), ("adaptive", "adaptive sharpness")):
        for one in row["sharpness"].get(kind, ()):
            point[f"{title}, rho {one['rho']:g}"] = one["ascent"]
            point[f"{title}, one step, rho {one['rho']:g}"] = one["one_step"]
        if average := row["average"].get(kind):
            point[f"average {title}, sigma {average['radius']:g}"] = average["mean"]
    if hessian := row.get("hessian"):
        take: dict[str, Callable[[_Row], float | None]] = {
            "Hessian, lambda 1": lambda h: h["eigenvalues"][0],
            "Hessian, lambda 1 / lambda 5": lambda h: h["ratio_1_5"],
            "Hessian, trace": lambda h: h["trace"],
        }
        point |= {name: of(hessian) for name, of in take.items()}
    return point


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _p_value(n: int, fewest: int) -> float:
    """min(1, 2 P[inversions <= fewest]) over the permutations of n, whose inversions the Mahonian numbers count."""
    counts = [1]
    for size in range(2, n + 1):
        wider = [0] * (len(counts) + size - 1)
        for i, count in enumerate(counts):
            for j in range(size):
                wider[i + j] += count
        counts = wider
    return min(1.0, 2 * sum(counts[: fewest + 1]) / sum(counts))
