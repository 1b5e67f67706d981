"""The barrier on losses whose line is known, and its ends on a network with BatchNorm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.errors import ArchitectureMismatch, Diverged
from lastsam_core.flatness import loss_barrier, renormalize
from lastsam_core.flatness.surroundings import mean_loss
from tests.core.flatness.nets import ONE, Quadratic, batches_of, images, mean, net

CRITERION = nn.CrossEntropyLoss()


class Valleys(nn.Module):
    """L(w) = (w^2 - 1)^2: valleys at -1 and 1, a pass of height 1 between them."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([w], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return ((self.weight**2 - 1) ** 2).expand(len(x))


def test_two_valleys_have_the_pass_between_them() -> None:
    found = loss_barrier(Valleys(-1.0), Valleys(1.0), ONE, mean)
    assert (found.barrier, found.at) == (pytest.approx(1.0), 0.5)
    assert found.t == pytest.approx([i / 10 for i in range(11)])
    assert found.loss == pytest.approx([((2 * t - 1) ** 2 - 1) ** 2 for t in found.t])


def test_it_is_measured_from_the_line_between_the_ends() -> None:
    found = loss_barrier(Valleys(-1.5), Valleys(1.0), ONE, mean, points=3)
    assert found.loss[0] == pytest.approx(1.25**2)
    assert found.barrier == pytest.approx((0.25**2 - 1) ** 2 - 1.25**2 / 2)


def test_a_bowl_has_none() -> None:
    one, other = Quadratic([3.0, 2.0, 1.0, 0.5]), Quadratic([3.0, 2.0, 1.0, 0.5])
    with torch.no_grad():
        other.weight.mul_(-4)
    found = loss_barrier(one, other, ONE, mean)
    assert (found.barrier, found.at) == (0.0, 0.0)
    same = loss_barrier(one, one, ONE, mean)
    assert same.barrier == 0.0
    assert len(set(same.loss)) == 1


def test_the_ends_are_the_networks_themselves_with_statistics_of_the_same_images() -> None:
    x, y = images(24)
    train = batches_of(8, *images(40, seed=9))
    models = [net(1), net(2)]
    found = loss_barrier(*models, batches_of(10, x, y), CRITERION, statistics=train, points=3)
    for model, loss in zip(models, (found.loss[0], found.loss[-1]), strict=True):
        before = mean_loss(model.eval(), [(x, y)], CRITERION)
        renormalize(model, train)
        assert mean_loss(model, [(x, y)], CRITERION) == pytest.approx(loss, rel=1e-12)
        assert before != pytest.approx(loss, rel=1e-6)


def test_the_middle_has_statistics_of_its_own() -> None:
    x, y = images(24)
    one, two = net(1), net(2)
    found = loss_barrier(one, two.state_dict(), [(x, y)], CRITERION, points=3)
    half = net(1).eval()
    with torch.no_grad():
        for p, q in zip(half.parameters(), two.parameters(), strict=True):
            p.copy_((p + q) / 2)
    renormalize(half, [(x, y)])
    assert found.loss[1] == pytest.approx(mean_loss(half, [(x, y)], CRITERION), rel=1e-12)


def test_permuted_neurons_are_the_same_function_behind_a_barrier() -> None:
    """Why a barrier is not a distance between functions; and that two equal ends do not hide it."""
    x, y = images(24)
    torch.manual_seed(0)
    one = nn.Sequential(nn.Flatten(), nn.Linear(25, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    state = {key: value.clone() for key, value in one.state_dict().items()}
    order = torch.arange(5, -1, -1)
    state["1.weight"], state["1.bias"] = state["1.weight"][order], state["1.bias"][order]
    state["3.weight"] = state["3.weight"][:, order]
    found = loss_barrier(one, state, [(x, y)], CRITERION)
    assert found.loss[0] == pytest.approx(found.loss[-1], rel=1e-12)
    assert len({round(loss, 6) for loss in found.loss}) > 3


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ArchitectureMismatch, match="weight"):
        loss_barrier(Quadratic([1.0] * 4), Quadratic([1.0] * 6), ONE, mean)
    with pytest.raises(ArchitectureMismatch, match=r"0\.weight"):
        loss_barrier(net(), {}, ONE, mean)
    with pytest.raises(ValueError, match="points"):
        loss_barrier(Valleys(0.0), Valleys(1.0), ONE, mean, points=1)


def test_infinite_losses() -> None:
    def wall(outputs: Tensor, _: Tensor) -> Tensor:
        return torch.where(outputs.mean() > 0.95, math.nan, outputs.mean())

    found = loss_barrier(Valleys(-1.0), Valleys(1.0), ONE, wall)
    assert (found.barrier, found.at) == (math.inf, 0.5)
    with pytest.raises(Diverged, match="first"):
        loss_barrier(Valleys(0.0), Valleys(1.0), ONE, wall)
