"""Sharpness where the answer is known (quadratics), and where only its properties are (networks)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.errors import Diverged
from lastsam_core.flatness import Sharpness, sharpness, sharpness_profile


class Quadratic(nn.Module):
    """L(w) = w H w / 2 + b w, whatever the batch."""

    def __init__(self, spectrum: list[float], b: Tensor | None = None, w: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        n = len(spectrum)
        basis, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
        self.h = basis @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ basis.T
        self.b = torch.zeros(n, dtype=torch.float64) if b is None else b
        self.weight = nn.Parameter(torch.zeros(n, dtype=torch.float64) if w is None else w)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight @ self.h @ self.weight / 2 + self.b @ self.weight).expand(len(x))


def mean(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.mean()


ONE = [(torch.zeros(1), torch.zeros(1))]


def analytic(h: Tensor, g: Tensor, rho: float) -> float:
    """max over ||e|| <= rho of e H e / 2 + g e for positive H: e = (mu - H)^-1 g with ||e|| = rho, by bisection."""
    lam, basis = torch.linalg.eigh(h)
    c = basis.T @ g
    low, high = float(lam[-1]), float(lam[-1] + g.norm() / rho)
    for _ in range(200):
        mid = (low + high) / 2
        low, high = (mid, high) if float((c / (mid - lam)).norm()) > rho else (low, mid)
    e = c / (high - lam)
    return float((lam * e * e).sum() / 2 + c @ e)


def test_ascent_reaches_the_analytic_maximum_at_a_minimum() -> None:
    model = Quadratic([5.0, 3.0, 1.0, 0.5])
    result = sharpness(model, ONE, mean, rho=0.3, steps=60)
    assert result.ascent == pytest.approx(0.5 * 0.3**2 * 5.0, rel=1e-6)
    assert result.one_step == 0.0  # no gradient there, so a SAM step would not move


@pytest.mark.parametrize("rho", [0.05, 1.0, 20.0])
def test_ascent_reaches_the_analytic_maximum_on_a_slope(rho: float) -> None:
    model = Quadratic([5.0, 3.0, 1.0, 0.5], b=torch.tensor([0.3, -1.0, 0.2, 0.7], dtype=torch.float64))
    result = sharpness(model, ONE, mean, rho=rho, steps=60)
    assert result.ascent == pytest.approx(analytic(model.h, model.b, rho), rel=1e-6)
    assert result.ascent >= result.one_step > 0


def test_adaptive_ascent_reaches_the_analytic_maximum() -> None:
    w = torch.tensor([0.5, -2.0, 0.1, 1.0], dtype=torch.float64)
    model = Quadratic([5.0, 3.0, 1.0, 0.5], w=w.clone())
    t = torch.diag(w.abs() + 0.01)
    result = sharpness(model, ONE, mean, rho=0.5, adaptive=True, eta=0.01, steps=80)
    assert result.ascent == pytest.approx(analytic(t @ model.h @ t, t @ model.h @ w, 0.5), rel=1e-6)
    assert result.kind == "adaptive"


def test_one_step_and_random_are_what_they_say() -> None:
    b = torch.tensor([0.3, -1.0, 0.2, 0.7], dtype=torch.float64)
    model = Quadratic([2.0] * 4, b=b)  # a ball: every direction bends alike
    result = sharpness(model, ONE, mean, rho=0.5, steps=0, directions=400)
    assert result.one_step == pytest.approx(0.5 * float(b.norm()) + 0.25, rel=1e-12)
    # E[b z/|z|] = 0, so the average rise is rho^2 lambda / 2; its standard error is rho |b| / sqrt(4 * 400).
    assert result.random == pytest.approx(0.25, abs=4 * 0.5 * float(b.norm()) / 40)


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    ).to(dtype)


def images(n: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(n, 1, 6, 6, generator=generator, dtype=dtype), torch.randint(3, (n,), generator=generator)


@pytest.mark.parametrize("adaptive", [False, True])
def test_order_and_monotony_on_a_network(adaptive: bool) -> None:
    x, y = images(40)
    results = sharpness_profile(
        net(),
        [(x, y)],
        nn.CrossEntropyLoss(),
        rhos=[2.0, 0.05, 0.5, 5.0],
        adaptive=adaptive,
        steps=4,
        restarts=2,
    )
    assert [r.rho for r in results] == [0.05, 0.5, 2.0, 5.0]
    assert all(r.ascent >= max(r.one_step, r.random, 0.0) for r in results)
    assert all(a.ascent <= b.ascent for a, b in itertools.pairwise(results))
    assert results[0].ascent > 0


def test_uneven_batches_equal_the_full_batch() -> None:
    x, y = images(50, torch.float64)
    model, criterion = net(torch.float64), nn.CrossEntropyLoss()

    def measured(batches: object) -> Sharpness:
        return sharpness(model, batches, criterion, rho=0.3, steps=3)  # pyright: ignore[reportArgumentType]

    whole = measured([(x, y)])
    for cut in (measured(list(zip(x.split(16), y.split(16), strict=True))), measured(lambda: iter([(x, y)]))):
        for field in ("base_loss", "one_step", "ascent", "random"):
            assert getattr(cut, field) == pytest.approx(getattr(whole, field), rel=1e-11, abs=1e-13)


def test_everything_is_as_before_also_after_an_error() -> None:
    x, y = images(12)
    model = net()
    model[1].eval()
    nn.CrossEntropyLoss()(model(x), y).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad for p in model.parameters()]
    kept = [g.clone() for g in gradients if g is not None]
    rng = torch.get_rng_state()
    calls = 0

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise RuntimeError("boom")
        return nn.functional.cross_entropy(outputs, targets)

    def check() -> None:
        assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
        assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
        assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), kept, strict=True))
        assert [m.training for m in model] == [True, False, True, True, True, True]
        assert torch.equal(torch.get_rng_state(), rng)

    with pytest.raises(RuntimeError, match="boom"):
        sharpness(model, [(x, y)], criterion, rho=0.5)
    check()
    first = sharpness(model, [(x, y)], criterion, rho=0.5)
    check()
    assert first == sharpness(model, [(x, y)], criterion, rho=0.5)


def test_adaptive_sharpness_is_invariant_to_nodewise_rescaling_and_sam_sharpness_is_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randint(3, (30,))
    criterion = nn.CrossEntropyLoss()

    def both() -> tuple[Sharpness, Sharpness]:
        adaptive = sharpness(model, [(x, y)], criterion, rho=0.3, adaptive=True, eta=0.0, steps=5)
        return adaptive, sharpness(model, [(x, y)], criterion, rho=0.3, steps=5)

    before = both()
    a = torch.rand(6, dtype=torch.float64) * 4 + 0.2
    with torch.no_grad():
        model[0].weight.mul_(a[:, None])
        model[2].weight.div_(a)
    after = both()
    for field in ("base_loss", "one_step", "ascent", "random"):
        assert getattr(after[0], field) == pytest.approx(getattr(before[0], field), rel=1e-9)
    assert after[1].ascent != pytest.approx(before[1].ascent, rel=0.02)


def test_a_loss_that_overflows_is_infinitely_sharp() -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight * 60).exp() * x

    steep = Steep()
    result = sharpness(steep, [(torch.ones(1), torch.ones(1))], mean, rho=5.0)
    assert result.ascent == math.inf
    with torch.no_grad():
        steep.weight.fill_(9.0)
    with pytest.raises(Diverged):
        sharpness(steep, [(torch.ones(1), torch.ones(1))], mean, rho=0.1)


def test_arguments_out_of_range_are_refused() -> None:
    x, y = images(4)
    for wrong in ({"rho": 0.0}, {"rho": math.nan}, {"rho": 1.0, "steps": -1}, {"rho": 1.0, "restarts": 0}):
        with pytest.raises(ValueError, match="must be"):
            sharpness(net(), [(x, y)], nn.CrossEntropyLoss(), **wrong)
    with pytest.raises(ValueError, match="no images"):
        sharpness(net(), [], nn.CrossEntropyLoss(), rho=1.0)
    with pytest.raises(ValueError, match="requires gradients"):
        sharpness(net().requires_grad_(False), [(x, y)], nn.CrossEntropyLoss(), rho=1.0)
