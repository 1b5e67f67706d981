"""Kendall's tau against scipy's and by hand, and which figures of a survey are paired."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from lastsam_core.study import correlation, kendall


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("ties", [False, True])
def test_kendall_equals_scipy(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n))
    if ties:
        x, y = np.round(x), np.round(y)
    found = kendall(x.tolist(), y.tolist())
    theirs = kendalltau(x, y, method="auto" if ties else "exact")
    assert found.tau is None if np.isnan(theirs.statistic) else found.tau == pytest.approx(theirs.statistic)
    untied = len(set(x)) == len(set(y)) == n
    assert found.p_value == (pytest.approx(theirs.pvalue) if untied else None)
    assert found.n == n


def test_the_p_value_counts_permutations() -> None:
    x = list(range(5))
    y = [0, 2, 1, 3, 4]
    taus = [kendall(x, list(order)).tau or 0.0 for order in itertools.permutations(range(5))]
    mine = kendall(x, y)
    assert mine.tau == pytest.approx(0.8)
    assert mine.p_value == pytest.approx(np.mean([abs(tau) >= 0.8 - 1e-12 for tau in taus]))


def test_what_never_changes_has_no_rank() -> None:
    assert kendall([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).tau is None
    assert (kendall([], []).tau, kendall([1.0], [2.0]).tau) == (None, None)
    with pytest.raises(ValueError, match="pairs"):
        kendall([1.0], [1.0, 2.0])


def row(i: int, *, ascent: float | None, accuracy: float) -> dict[str, Any]:
    return {
        "file": f"{i}.pt",
        "test": {"accuracy": accuracy, "nll": 0.5 + 0.1 * i},
        "train": {"accuracy": 1.0, "nll": 0.1},
        "sharpness": {"sam": [{"rho": 0.05, "ascent": ascent, "one_step": -i}], "adaptive": []},
        "average": {"adaptive": {"radius": 0.05, "mean": 1.0}},
        "hessian": {"eigenvalues": [float(i)], "ratio_1_5": None, "trace": 2.0 * i},
    }


def test_measures_are_paired_with_both_gaps() -> None:
    rows = [row(i, ascent=i, accuracy=0.9 + 0.01 * i) for i in range(4)]
    found = correlation(rows)
    by_name = {one["name"]: one for one in found["measures"]}
    assert list(by_name) == [
        "SAM sharpness, rho 0.05",
        "SAM sharpness, one step, rho 0.05",
        "average adaptive sharpness, sigma 0.05",
        "Hessian, lambda 1",
        "Hessian, lambda 1 / lambda 5",
        "Hessian, trace",
    ]
    sharp = by_name["SAM sharpness, rho 0.05"]
    assert (sharp["loss_gap"]["tau"], sharp["error_gap"]["tau"]) == (pytest.approx(1.0), pytest.approx(-1.0))
    assert by_name["SAM sharpness, one step, rho 0.05"]["loss_gap"]["tau"] == pytest.approx(-1.0)
    assert by_name["Hessian, lambda 1 / lambda 5"]["loss_gap"] == {"tau": None, "p_value": None, "n": 0}
    assert by_name["average adaptive sharpness, sigma 0.05"]["loss_gap"]["tau"] is None
    assert found["points"][1]["loss_gap"] == pytest.approx(0.5)
    assert found["points"][1]["error_gap"] == pytest.approx(0.09)


def test_few_checkpoints_are_warned_of_and_unknown_figures_left_out() -> None:
    few = correlation([row(i, ascent=None if i == 2 else i, accuracy=0.9) for i in range(9)])
    assert "too few" in few["warning"]
    assert few["measures"][0]["loss_gap"]["n"] == 8
    assert correlation([row(i, ascent=i, accuracy=0.9) for i in range(10)])["warning"] is None
