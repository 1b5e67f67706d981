"""The transcription, checked by hand on numbers small enough to do so."""

from __future__ import annotations

import math

import pytest
import torch

from lastsam_core.reference import asam_epsilon, descend, sam_epsilon, sharpness_aware_step, t_of


def d(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_sam_by_hand() -> None:
    g = {"weight": d(3.0), "bias": d(-4.0)}
    assert {k: float(v) for k, v in sam_epsilon(g, rho=0.5).items()} == pytest.approx({"weight": 0.3, "bias": -0.4})
    assert {k: float(v) for k, v in sam_epsilon(g, rho=0.5, p=math.inf).items()} == {"weight": 0.5, "bias": -0.5}
    # p = 3, q = 3/2: rho sqrt|g| / (sum |g|^(3/2))^(1/3)
    third = (3**1.5 + 4**1.5) ** (1 / 3)
    cubic = sam_epsilon(g, rho=0.5, p=3.0)
    assert float(cubic["weight"]) == pytest.approx(0.5 * math.sqrt(3) / third)
    assert float(cubic["bias"]) == pytest.approx(-0.5 * 2 / third)


def test_t_by_hand() -> None:
    w = {"conv.weight": d(3.0, 4.0, 0.0, -2.0).reshape(2, 1, 2), "conv.bias": d(5.0, -6.0)}
    assert t_of(w, eta=0.1)["conv.weight"].flatten().tolist() == pytest.approx([3.1, 4.1, 0.1, 2.1])
    assert t_of(w, eta=0.1)["conv.bias"].tolist() == [1, 1]
    filters = t_of(w, eta=0.1, filters=["conv.weight"], normalize_bias=True)
    assert filters["conv.weight"].flatten().tolist() == pytest.approx([5.1, 5.1, 2.1, 2.1])
    assert filters["conv.bias"].tolist() == pytest.approx([5.1, 6.1])
    assert t_of(w, dialect="davda54")["conv.bias"].tolist() == [5, 6]


def test_asam_by_hand() -> None:
    g, t = {"weight": d(3.0), "bias": d(-2.0)}, {"weight": d(1.0), "bias": d(2.0)}
    eps = asam_epsilon(g, t, rho=0.5)  # ||T g|| = 5
    assert {k: float(v) for k, v in eps.items()} == pytest.approx({"weight": 0.3, "bias": -0.8})
    assert {k: float(v) for k, v in asam_epsilon(g, t, rho=0.5, p=math.inf).items()} == {"weight": 0.5, "bias": -1.0}
    with pytest.raises(ValueError, match="p = 2"):
        asam_epsilon(g, t, rho=0.5, p=3.0)


def test_descent_by_hand_and_against_torch() -> None:
    w, v = {"weight": d(1.0)}, {}
    w, v = descend(w, {"weight": d(2.0)}, v, lr=0.1, momentum=0.9, weight_decay=0.5)
    assert float(v["weight"]) == pytest.approx(2.5)
    assert float(w["weight"]) == pytest.approx(0.75)
    w, v = descend(w, {"weight": d(2.0)}, v, lr=0.1, momentum=0.9, weight_decay=0.5)
    assert float(v["weight"]) == pytest.approx(0.9 * 2.5 + 2 + 0.375)


def test_one_sam_step_on_a_parabola() -> None:
    # L = w^2 at w = 1: g = 2, eps = rho, g_s = 2 (1 + rho), w' = 1 - lr g_s.
    w, _ = sharpness_aware_step(
        {"weight": d(1.0)},
        {},
        lambda w: {"weight": 2 * w["weight"]},
        lambda _, g: sam_epsilon(g, rho=0.25),
        lr=0.1,
    )
    assert float(w["weight"]) == pytest.approx(1 - 0.1 * 2.5)
