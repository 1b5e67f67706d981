"""The closed forms against the papers' own (reference.py), against a peer, and against what defines them."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_optimizer import SAM as PeerSAM
from torch import Tensor, nn

from lastsam_core.perturbation import Leaf, Perturbation, epsilon, global_norm, leaves_of, scale
from lastsam_core.reference import asam_epsilon, sam_epsilon, t_of

FILTERS = ("0.weight",)


def net() -> nn.Sequential:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.LayerNorm(5)
    ).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


def problem() -> tuple[list[Leaf], list[Tensor]]:
    leaves = leaves_of(net())
    return leaves, [torch.randn_like(leaf.parameter) for leaf in leaves]


def by_name(leaves: list[Leaf], tensors: list[Tensor]) -> dict[str, Tensor]:
    return {leaf.name: tensor.detach() for leaf, tensor in zip(leaves, tensors, strict=True)}


def assert_same(leaves: list[Leaf], ours: list[Tensor], theirs: dict[str, Tensor]) -> None:
    for leaf, eps in zip(leaves, ours, strict=True):
        torch.testing.assert_close(eps, theirs[leaf.name], rtol=1e-12, atol=1e-13)


def test_leaves_know_filters_norms_and_ties() -> None:
    model = net()
    leaves = leaves_of(model)
    assert [leaf.name for leaf in leaves] == [name for name, _ in model.named_parameters()]
    assert [leaf.name for leaf in leaves if leaf.is_filter] == ["0.weight"]
    assert [leaf.name for leaf in leaves if leaf.in_norm] == ["1.weight", "1.bias", "5.weight", "5.bias"]
    tied = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    tied["b"].weight = tied["a"].weight
    assert [leaf.name for leaf in leaves_of(tied)] == ["a.weight", "a.bias", "b.bias"]
    assert [leaf.name for leaf in leaves_of(model, among=[model[4].bias])] == ["4.bias"]


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, 7.0, math.inf])
def test_sam_is_foret_equation_2(p: float) -> None:
    leaves, g = problem()
    ours = epsilon(Perturbation(method="sam", rho=0.3, p=p), leaves, g)
    assert_same(leaves, ours, sam_epsilon(by_name(leaves, g), rho=0.3, p=p))


@pytest.mark.parametrize("p", [2.0, math.inf])
@pytest.mark.parametrize("normalize", ["element", "filter"])
@pytest.mark.parametrize("normalize_bias", [False, True])
@pytest.mark.parametrize("dialect", ["paper", "davda54"])
def test_asam_is_kwon_algorithm_1(p: float, normalize: str, normalize_bias: bool, dialect: str) -> None:
    leaves, g = problem()
    spec = Perturbation(
        method="asam", rho=0.5, eta=0.02, p=p, normalize=normalize, normalize_bias=normalize_bias, dialect=dialect
    )
    t = t_of(
        by_name(leaves, [leaf.parameter for leaf in leaves]),
        eta=0.02,
        filters=FILTERS if normalize == "filter" else (),
        normalize_bias=normalize_bias,
        dialect=dialect,
    )
    assert_same(leaves, epsilon(spec, leaves, g), asam_epsilon(by_name(leaves, g), t, rho=0.5, p=p))


@pytest.mark.parametrize("scope_leaves", ["all", "norm"])
@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 4.0])
def test_eps_attains_hoelders_bound_so_it_is_the_maximiser(p: float, scope_leaves: str) -> None:
    leaves, g = problem()
    if scope_leaves == "norm":
        g = [t for t, leaf in zip(g, leaves, strict=True) if leaf.in_norm]
        leaves = [leaf for leaf in leaves if leaf.in_norm]
    spec = Perturbation(method="asam", rho=0.7, eta=0.05, p=p)
    eps = epsilon(spec, leaves, g)
    t = [torch.ones_like(x) if (s := scale(spec, leaf)) is None else s for leaf, x in zip(leaves, g, strict=True)]
    flat_v = torch.cat([(e / s).flatten() for e, s in zip(eps, t, strict=True)])
    flat_u = torch.cat([(x * s).flatten() for x, s in zip(g, t, strict=True)])
    q = p / (p - 1)
    # ||T^-1 eps||_p = rho, and <g, eps> = rho ||T g||_q, the most that any point of the ball can give.
    assert float((flat_v.abs() ** p).sum() ** (1 / p)) == pytest.approx(0.7, rel=1e-12)
    bound = 0.7 * float((flat_u.abs() ** q).sum() ** (1 / q))
    assert sum(float((e * x).sum()) for e, x in zip(eps, g, strict=True)) == pytest.approx(bound, rel=1e-12)


def squared_norm_in_full_precision(groups: list[dict], *, weight_adaptive: bool) -> Tensor:
    """The peer's own norm without its rounding to fp32 (which the port that it follows does not do)."""
    weighted = [p.grad * p.abs() if g["adaptive"] else p.grad for g in groups for p in g["params"]]
    return torch.stack([x.norm() for x in weighted]).norm().square().reshape(1)


@pytest.mark.parametrize(("exact", "tolerance"), [(False, 1e-7), (True, 1e-12)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_eps_equals_pytorch_optimizer(
    adaptive: bool, exact: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exact:
        monkeypatch.setattr("pytorch_optimizer.optimizer.sam.get_global_gradient_norm", squared_norm_in_full_precision)
    model = net()
    leaves = leaves_of(model)
    g = [torch.randn_like(leaf.parameter) for leaf in leaves]
    spec = Perturbation(method="asam" if adaptive else "sam", rho=0.4, dialect="davda54")
    ours = epsilon(spec, leaves, g)
    before = [leaf.parameter.detach().clone() for leaf in leaves]
    for leaf, gradient in zip(leaves, g, strict=True):
        leaf.parameter.grad = gradient.clone()
    PeerSAM(model.parameters(), torch.optim.SGD, rho=0.4, adaptive=adaptive, lr=0.1).first_step()
    for leaf, w, eps in zip(leaves, before, ours, strict=True):
        torch.testing.assert_close(leaf.parameter.detach() - w, eps, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("method", ["sam", "asam"])
def test_loss_scale_leaves_eps_bit_equal(method: str, p: float, dtype: torch.dtype) -> None:
    model = net().to(dtype)
    leaves = leaves_of(model)
    g = [torch.randn_like(leaf.parameter) for leaf in leaves]
    spec = Perturbation(method=method, rho=0.5, p=p)
    plain, scaled = epsilon(spec, leaves, g), epsilon(spec, leaves, [x * 2**16 for x in g])
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))


@pytest.mark.parametrize("p", [1.5, 2.0, math.inf])
def test_zero_gradient_gives_zero_eps(p: float) -> None:
    leaves, g = problem()
    eps = epsilon(Perturbation(rho=0.5, p=p), leaves, [torch.zeros_like(x) for x in g])
    assert all(not x.any() for x in eps)
    # T g = 0 with g != 0: all weights zero in the dialect without eta.
    with torch.no_grad():
        for leaf in leaves:
            leaf.parameter.zero_()
    assert all(not x.any() for x in epsilon(Perturbation(rho=0.5, p=p, dialect="davda54"), leaves, g))
    assert epsilon(Perturbation(), [], []) == []


def test_gradients_and_weights_are_not_touched() -> None:
    leaves, g = problem()
    before = [x.clone() for x in g], [leaf.parameter.detach().clone() for leaf in leaves]
    for p in (1.5, 2.0, math.inf):
        for method in ("sam", "asam"):
            epsilon(Perturbation(method=method, p=p), leaves, g)
    assert all(torch.equal(a, b) for a, b in zip(g, before[0], strict=True))
    assert all(torch.equal(leaf.parameter, b) for leaf, b in zip(leaves, before[1], strict=True))


@pytest.mark.parametrize("normalize_bias", [False, True])
def test_nodewise_rescaling_moves_asam_eps_along_and_sam_eps_not(normalize_bias: bool) -> None:
    """Kwon theorem 1: A scales a hidden node's inputs by a and its outputs by 1/a; a ReLU net computes the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=normalize_bias), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    x, y = torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    a = torch.rand(6, dtype=torch.float64) * 4 + 0.2

    def rescaled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        factors = {"0.weight": a[:, None], "0.bias": a, "2.weight": 1 / a}
        return {name: tensor * factors[name] for name, tensor in tensors.items()}

    def eps_of(spec: Perturbation) -> dict[str, Tensor]:
        leaves = leaves_of(model)
        loss = (model(x) - y).square().mean()
        g = torch.autograd.grad(loss, [leaf.parameter for leaf in leaves])
        return by_name(leaves, epsilon(spec, leaves, g))

    adaptive = Perturbation(method="asam", eta=0.0, rho=0.5, normalize_bias=normalize_bias)
    plain = Perturbation(method="sam", rho=0.5)
    before = eps_of(adaptive), eps_of(plain)
    model.load_state_dict(rescaled(model.state_dict()))
    after = eps_of(adaptive), eps_of(plain)
    for name, expected in rescaled(before[0]).items():
        torch.testing.assert_close(after[0][name], expected, rtol=1e-10, atol=1e-13)
    assert any(not torch.allclose(after[1][name], x, rtol=0.01) for name, x in rescaled(before[1]).items())


@pytest.mark.parametrize("p", [1.5, 2.0, math.inf])
@pytest.mark.parametrize("spec", [{"method": "sam"}, {"normalize": "filter"}, {"dialect": "davda54"}])
def test_batched_kernels_give_what_the_loop_gives(spec: dict, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves, g = problem()
    looped = epsilon(Perturbation(**spec, p=p), leaves, g), global_norm(g, 3.0)
    monkeypatch.setattr("lastsam_core.perturbation._LOOPED", ())  # what CUDA tensors take, here on the CPU
    batched = epsilon(Perturbation(**spec, p=p), leaves, g), global_norm(g, 3.0)
    for a, b in zip([*looped[0], looped[1]], [*batched[0], batched[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_half_precision_norms_are_taken_in_fp32() -> None:
    big = [torch.full((5000,), 300.0, dtype=torch.float16), torch.full((4,), 1.0, dtype=torch.float32)]
    assert float(global_norm(big)) == pytest.approx(math.sqrt(5000 * 300.0**2 + 4), rel=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rho": -0.1},
        {"rho": math.nan},
        {"rho": math.inf},
        {"eta": -1.0},
        {"p": 1.0},
        {"p": math.nan},
        {"method": "gsam"},
        {"normalize": "layer"},
        {"dialect": "mine"},
        {"scope": "bias"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Perturbation(**wrong)
