"""Whole trajectories: against the papers' algorithm and a peer's SAM, and on the toy that shows why ASAM exists."""

from __future__ import annotations

import pytest
import torch
from pytorch_optimizer import SAM as PeerSAM
from pytorch_optimizer.optimizer.utils.model import disable_running_stats, enable_running_stats
from torch import Tensor, nn

from lastsam_core.reference import Weights, asam_epsilon, sam_epsilon, sharpness_aware_step, t_of
from lastsam_core.sam import SharpnessAware


def squared_norm_in_full_precision(groups: list[dict], *, weight_adaptive: bool) -> Tensor:
    """The peer's own norm without its rounding to fp32 (which the port that it follows does not do)."""
    weighted = [p.grad * p.abs() if g["adaptive"] else p.grad for g in groups for p in g["params"]]
    return torch.stack([x.norm() for x in weighted]).norm().square().reshape(1)


def net() -> nn.Sequential:
    torch.manual_seed(11)
    return (
        nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
        )
        .append(nn.Linear(64, 3))
        .double()
    )


@pytest.mark.parametrize("adaptive", [False, True])
def test_fifty_steps_equal_pytorch_optimizer(adaptive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_optimizer.optimizer.sam.get_global_gradient_norm", squared_norm_in_full_precision)
    rho = 0.5 if adaptive else 0.05
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
    ours, theirs = net(), net()
    optimizer = SharpnessAware(
        torch.optim.SGD(ours.parameters(), **settings),
        model=ours,
        method="asam" if adaptive else "sam",
        rho=rho,
        dialect="davda54",
    )
    # perturb_eps = 0: its 1e-12 on the norm is a difference of formula, and would grow over the steps.
    peer = PeerSAM(theirs.parameters(), torch.optim.SGD, rho=rho, adaptive=adaptive, perturb_eps=0.0, **settings)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x = torch.randn(16, 1, 8, 8, generator=generator, dtype=torch.float64)
        y = torch.randint(3, (16,), generator=generator)

        def closure(model: nn.Module, x: Tensor = x, y: Tensor = y) -> Tensor:
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(lambda: closure(ours))
        closure(theirs)
        disable_running_stats(theirs)
        peer.step(lambda: closure(theirs))
        enable_running_stats(theirs)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        if name.endswith("num_batches_tracked"):
            assert (int(a), int(b)) == (50, 100)  # the peer counts its frozen forwards, we do not
        else:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert not torch.equal(ours[0].weight, net()[0].weight)


@pytest.mark.parametrize("method", ["sam", "asam"])
def test_several_steps_equal_the_papers_algorithm(method: str) -> None:
    """Momentum and weight decay included; the network is a function of a dict of weights there."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    w: Weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    v: Weights = {}

    def gradient(weights: Weights) -> Weights:
        leaves = {name: t.clone().requires_grad_() for name, t in weights.items()}
        loss = (torch.func.functional_call(model, leaves, (x,)) - y).square().mean()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    def epsilon(weights: Weights, g: Weights) -> Weights:
        return sam_epsilon(g, rho=0.2) if method == "sam" else asam_epsilon(g, t_of(weights, eta=0.01), rho=0.2)

    base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = SharpnessAware(base, model=model, method=method, rho=0.2)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(20):
        w, v = sharpness_aware_step(w, v, gradient, epsilon, lr=0.1, momentum=0.9, weight_decay=0.01)
        optimizer.step(closure)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), w[name], rtol=1e-11, atol=1e-13)


class Toy(nn.Module):
    """Kwon et al. 2021, Figure 3: L(w) = |w1 ReLU(w2) - 0.04|, with a valley along w1 w2 = 0.04."""

    def __init__(self, w1: float, w2: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([w1, w2], dtype=torch.float64))

    def forward(self) -> Tensor:
        return (self.weight[0] * self.weight[1].relu() - 0.04).abs()


def descend(start: tuple[float, float], method: str, rho: float, lr: float = 0.01, steps: int = 2000) -> Toy:
    toy = Toy(*start)
    # The loss is a kink, so only a step that shrinks comes to rest in the valley.
    base = torch.optim.SGD(toy.parameters(), lr=lr)
    optimizer = SharpnessAware(base, model=toy, method=method, rho=rho, eta=0.0)  # pyright: ignore
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = toy()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        schedule.step()
    return toy


def test_sam_from_a_balanced_slope_is_drawn_along_the_valley() -> None:
    toy = descend((0.2, 0.05), "sam", rho=0.05)
    assert toy.weight.tolist() == pytest.approx([0.2, 0.2], abs=2e-3)


def test_sam_whose_ball_reaches_over_the_edge_never_gets_to_the_valley() -> None:
    # eps carries w2 below zero, where ReLU passes nothing back: g_s = 0 for ever.
    toy = descend((0.3, 0.033), "sam", rho=0.05)
    assert toy.weight.tolist() == [0.3, 0.033]
    assert toy().item() > 0.03


@pytest.mark.parametrize("start", [(0.2, 0.05), (0.3, 0.033)])
def test_asam_reaches_the_valley_near_its_start_from_both(start: tuple[float, float]) -> None:
    toy = descend(start, "asam", rho=0.5)
    assert toy().item() < 1e-6
    # Gradient flow keeps w1^2 - w2^2, which gives the point of the valley below each start.
    kept = start[0] ** 2 - start[1] ** 2
    w1 = ((kept + (kept**2 + 4 * 0.04**2) ** 0.5) / 2) ** 0.5
    assert toy.weight.tolist() == pytest.approx([w1, 0.04 / w1], abs=0.02)
