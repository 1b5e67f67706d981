"""Landscapes: the network in the middle, directions with the weights' norms, the other network at 1."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lastsam_core.flatness import loss_barrier, loss_landscape
from lastsam_core.flatness.landscape import filter_normalized
from lastsam_core.flatness.surroundings import mean_loss
from tests.core.flatness.nets import ONE, Quadratic, batches_of, images, mean, net

CRITERION = nn.CrossEntropyLoss()


def test_directions_have_the_filters_norms_and_leave_biases_alone() -> None:
    weights = [p.detach() for p in net().parameters()]
    directions = filter_normalized(weights, 3)
    for w, d in zip(weights, directions, strict=True):
        if w.dim() < 2:
            assert not d.any()
        else:
            torch.testing.assert_close(d.flatten(1).norm(dim=1), w.flatten(1).norm(dim=1))
            assert not torch.allclose(d, w)
    assert all(torch.equal(a, b) for a, b in zip(directions, filter_normalized(weights, 3), strict=True))
    assert not torch.equal(directions[0], filter_normalized(weights, 4)[0])


def test_a_line_goes_through_the_network() -> None:
    x, y = images(20)
    model = net().eval()
    found = loss_landscape(model, batches_of(8, x, y), CRITERION, points=5, seed=3)
    assert found.a == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert found.b == (0.0,)
    assert found.loss[0][2] == pytest.approx(mean_loss(model, [(x, y)], CRITERION), rel=1e-12)
    moved = net().eval()
    with torch.no_grad():
        for p, d in zip(
            moved.parameters(), filter_normalized([p.detach() for p in model.parameters()], 3), strict=True
        ):
            p.add_(d, alpha=0.5)
    assert found.loss[0][3] == pytest.approx(mean_loss(moved, [(x, y)], CRITERION), rel=1e-12)


def test_a_plane_holds_the_line() -> None:
    batches = [images(20)]
    line = loss_landscape(net(), batches, CRITERION, points=3, extent=(-0.2, 0.2))
    plane = loss_landscape(net(), batches, CRITERION, kind="2d", points=3, extent=(-0.2, 0.2))
    assert [len(row) for row in plane.loss] == [3, 3, 3]
    assert plane.b == (-0.2, 0.0, 0.2)
    assert plane.loss[1] == pytest.approx(line.loss[0], rel=1e-12)
    assert plane.loss[0] != pytest.approx(plane.loss[2], rel=1e-6)


def test_scale_of_the_weights_does_not_matter() -> None:
    """With BatchNorm behind it a convolution may be scaled: the function and its filter-normalised picture stay."""
    model, batches = net(), [images(20)]
    scaled = net()
    with torch.no_grad():
        for tensor in (scaled[0].weight, scaled[0].bias, scaled[1].running_mean):
            tensor.mul_(7)
        scaled[1].running_var.mul_(49)
        scaled[1].eps = model[1].eps = 0.0
    one, other = (loss_landscape(m, batches, CRITERION, points=5) for m in (model, scaled))
    assert one.loss[0] == pytest.approx(other.loss[0], rel=1e-9)


def test_toward_another_network() -> None:
    model, other, batches = net(1), net(2), [images(20)]
    found = loss_landscape(model, batches, CRITERION, toward=other, statistics=batches, points=5)
    assert found.a == (-0.5, 0.0, 0.5, 1.0, 1.5)
    line = loss_barrier(model, other, batches, CRITERION, points=3)
    assert found.loss[0][1:4] == pytest.approx(line.loss, rel=1e-9)


def test_a_bowl_looks_like_one() -> None:
    model = Quadratic([2.0] * 6)
    target = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    found = loss_landscape(model, ONE, mean, toward=target, points=9)
    base = found.loss[0][2]
    assert found.a[2] == 0.0
    assert found.loss[0] == pytest.approx([base * (1 - a) ** 2 for a in found.a])


def test_what_is_not_finite_is_infinite() -> None:
    found = loss_landscape(net(), [images(8)], lambda out, y: CRITERION(out * math.inf, y), points=2)
    assert found.loss == ((math.inf, math.inf),)


@pytest.mark.parametrize("wrong", [{"kind": "3d"}, {"points": 1}, {"extent": (1.0, -1.0)}, {"extent": (0.0, math.inf)}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        loss_landscape(net(), [images(4)], CRITERION, **wrong)  # pyright: ignore[reportArgumentType]
