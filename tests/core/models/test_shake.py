from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lastsam_core.models.shake import ShakeDrop, scale_apart, shake_shake
from lastsam_core.sam import SharpnessAware


def features(images: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, 3, 2, 2, dtype=torch.float64, generator=generator).requires_grad_()


def test_forward_and_backward_have_factors_of_their_own() -> None:
    x = features()

    out = scale_apart(x, torch.tensor(-0.25), torch.tensor(0.75))
    (gradient,) = torch.autograd.grad(out.sum(), x)

    torch.testing.assert_close(out, -0.25 * x)
    assert torch.equal(gradient, torch.full_like(x, 0.75))


def factors(drop: ShakeDrop, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each image: what it was multiplied by, and what its gradient was; the same over its pixels."""
    out = drop(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    forward = out.detach() / x.detach()
    torch.testing.assert_close(forward, forward[:, :1, :1, :1].expand_as(x))
    torch.testing.assert_close(gradient, gradient[:, :1, :1, :1].expand_as(x))
    return forward[:, 0, 0, 0], gradient[:, 0, 0, 0]


def test_shakedrop_draws_for_each_image() -> None:
    torch.manual_seed(3)
    forward, backward = factors(ShakeDrop(0.6), features(4000))

    kept = backward == 1
    torch.testing.assert_close(forward[kept], torch.ones(int(kept.sum()), dtype=torch.float64))
    assert abs(kept.double().mean() - 0.6) < 0.03
    alpha, beta = forward[~kept], backward[~kept]
    assert -1 <= alpha.min() < -0.99
    assert 0.99 < alpha.max() < 1
    assert 0 <= beta.min() < 0.01
    assert 0.99 < beta.max() < 1
    assert abs(torch.corrcoef(torch.stack((alpha, beta)))[0, 1]) < 0.1
    assert abs(forward.mean() - 0.6) < 0.04  # what evaluation multiplies by


def test_shakedrop_is_its_expectation_in_evaluation() -> None:
    x = features()

    assert torch.equal(ShakeDrop(0.6).eval()(x), 0.6 * x)


def test_the_same_generator_state_is_the_same_noise() -> None:
    x, drop = features(), ShakeDrop(0.5)
    state = torch.get_rng_state()
    first = factors(drop, x)
    other = factors(drop, x)
    torch.set_rng_state(state)

    again = factors(drop, x)

    for one, two, different in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, different)


@pytest.mark.parametrize("training", [True, False])
def test_shake_shake_mixes_the_branches(training: bool) -> None:
    first, second = features(seed=1), features(seed=2)
    torch.manual_seed(0)

    out = shake_shake(first, second, training)
    one, two = torch.autograd.grad(out.sum(), (first, second))

    alpha = ((out - second) / (first - second)).detach()[:, 0, 0, 0]
    beta = one[:, 0, 0, 0]
    torch.testing.assert_close(one + two, torch.ones_like(one))
    torch.testing.assert_close(one, one[:, :1, :1, :1].expand_as(one))
    if training:
        assert len({*alpha.tolist(), *beta.tolist()}) == 8
        assert all(0 <= value <= 1 for value in (*alpha, *beta))
    else:
        torch.testing.assert_close(torch.stack((alpha, beta)), torch.full((2, 4), 0.5, dtype=torch.float64))


class Shaken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        self.drop = ShakeDrop(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(shake_shake(self.first(x), self.second(x), self.training))
        return self.head(x.mean((2, 3)))


def test_both_passes_of_sam_see_the_same_noise() -> None:
    # A radius too small to move any weight: both passes then give one gradient only if their noise agrees.
    plain, wrapped = Shaken(), Shaken()
    base = torch.optim.SGD(plain.parameters(), lr=0.1)
    sam = SharpnessAware(torch.optim.SGD(wrapped.parameters(), lr=0.1), model=wrapped, method="sam", rho=1e-30)
    x, target = features().detach().float(), torch.tensor([0, 1, 0, 1])
    for model, optimizer in ((plain, base), (wrapped, sam)):

        def closure(model: nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            return loss

        torch.manual_seed(1)
        for _ in range(3):
            optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
    for one, other in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_can_be_differentiated_twice() -> None:
    x = features()
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad((ShakeDrop(0.5)(x) ** 2).sum(), x, create_graph=True)

    assert torch.isfinite(torch.autograd.grad(gradient.sum(), x)[0]).all()
