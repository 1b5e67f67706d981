"""Ten things that SAM ports get wrong or leave out, one test each, on a net with convolution, BatchNorm and dropout.

The list is the table "The libraries people use for SAM today" of the project's anchors; docs/methods.md repeats it.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core import reference
from lastsam_core.recipe import Recipe
from lastsam_core.refining import refine
from lastsam_core.sam import SharpnessAware
from lastsam_core.training import train
from tests.factories import SMALL, write_tiny_npz

Batch = tuple[Tensor, Tensor]


def net(*, dropout: float = 0.3, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(11)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten()]
    if not norm:
        del layers[1]
    return nn.Sequential(*layers, nn.Linear(64, 3)).double()


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (8,), generator=generator)


def sharp(model: nn.Module, lr: float = 0.1, **settings: Any) -> SharpnessAware:
    base = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    return SharpnessAware(base, model=model, **{"method": "asam", "rho": 0.3, **settings})


def closure_of(optimizer: SharpnessAware, part: Batch) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(optimizer.model(part[0]), part[1])
        optimizer.backward(loss)
        return loss

    return closure


def perturbation_of(
    model: nn.Module, **settings: Any
) -> tuple[reference.Weights, reference.Weights, reference.Weights]:
    """w, g and eps of one step, eps as the second forward sees it."""
    w = {name: p.detach().clone() for name, p in model.named_parameters()}
    at: list[reference.Weights] = []
    model.register_forward_pre_hook(lambda *_: at.append({n: p.detach().clone() for n, p in model.named_parameters()}))
    optimizer = sharp(model, lr=0.0, **settings)
    optimizer.step(closure_of(optimizer, batch()))
    loss = nn.functional.cross_entropy(model(batch()[0]), batch()[1])
    g = dict(zip(w, torch.autograd.grad(loss, list(model.parameters())), strict=True))
    return w, g, {name: at[1][name] - w[name] for name in w}


def final(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_1_asam_is_the_papers_and_the_ports_dialect_has_a_name() -> None:
    w, g, eps = perturbation_of(net(dropout=0.0))
    expected = reference.asam_epsilon(g, reference.t_of(w, eta=0.01), rho=0.3)
    assert all(torch.allclose(eps[name], expected[name], rtol=1e-9, atol=1e-13) for name in w)
    assert float(reference.t_of(w)["0.bias"].mean()) == 1.0  # biases are not normalised
    w, g, eps = perturbation_of(net(dropout=0.0), dialect="davda54")
    expected = reference.asam_epsilon(g, reference.t_of(w, dialect="davda54"), rho=0.3)
    assert all(torch.allclose(eps[name], expected[name], rtol=1e-9, atol=1e-13) for name in w)


def test_2_there_is_p_infinity_filter_wise_and_norm_only() -> None:
    w, g, eps = perturbation_of(net(dropout=0.0), method="sam", p=math.inf)
    assert all(torch.allclose(eps[name], 0.3 * g[name].sign(), atol=1e-13) for name in w)
    w, g, eps = perturbation_of(net(dropout=0.0), normalize="filter")
    expected = reference.asam_epsilon(g, reference.t_of(w, filters=["0.weight"]), rho=0.3)
    assert all(torch.allclose(eps[name], expected[name], rtol=1e-9, atol=1e-13) for name in w)
    w, g, eps = perturbation_of(net(dropout=0.0), scope="norm")
    assert {name for name in w if eps[name].any()} == {"1.weight", "1.bias"}


@pytest.mark.parametrize("bad", [0, 1])
def test_3_a_scaler_is_right_in_both_passes(bad: int) -> None:
    plain, scaled = sharp(net()), sharp(net(), scaler=torch.amp.GradScaler("cpu", init_scale=2.0**16))
    for optimizer in (plain, scaled):
        torch.manual_seed(0)
        optimizer.step(closure_of(optimizer, batch()))
    assert equal(final(plain.model), final(scaled.model))
    inner, calls = closure_of(scaled, batch()), iter(range(2))

    def overflowing() -> Tensor:
        loss = inner()
        if next(calls) == bad:
            next(scaled.model.parameters()).grad.fill_(torch.inf)  # pyright: ignore
        return loss

    before = final(scaled.model)
    scaled.step(overflowing)
    assert equal(final(scaled.model), before)
    assert scaled.scaler is not None
    assert scaled.scaler.get_scale() == 2.0**15


def test_4_accumulated_gradients_are_those_of_the_batch() -> None:
    whole, cut = sharp(net(dropout=0.0, norm=False)), sharp(net(dropout=0.0, norm=False))
    x, y = batch()
    whole.step(closure_of(whole, (x, y)))
    cut.step([closure_of(cut, (x[:6], y[:6])), closure_of(cut, (x[6:], y[6:]))], [0.75, 0.25])
    for a, b in zip(final(whole.model), final(cut.model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_5_m_sharpness_works_on_one_device() -> None:
    model = net(dropout=0.0, norm=False)
    w = {name: p.detach().clone() for name, p in model.named_parameters()}
    parts = [(x, y) for x, y in zip(*(value.split(1) for value in batch()), strict=True)]

    def gradient_on(part: Batch) -> Callable[[reference.Weights], reference.Weights]:
        def gradient(at: reference.Weights) -> reference.Weights:
            at = {name: value.clone().requires_grad_() for name, value in at.items()}
            loss = nn.functional.cross_entropy(torch.func.functional_call(model, at, (part[0],)), part[1])
            return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

        return gradient

    expected = reference.m_sharpness_gradient(
        w, [gradient_on(part) for part in parts], lambda _, g: reference.sam_epsilon(g, rho=0.3)
    )
    base = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer = SharpnessAware(base, model=model, method="sam", rho=0.3, m_sharpness=True)
    optimizer.step([closure_of(optimizer, part) for part in parts])
    for name, p in model.named_parameters():
        torch.testing.assert_close(w[name] - p.detach(), expected[name], rtol=1e-10, atol=1e-12)


def test_6_batchnorm_statistics_are_those_of_one_forward_bitwise() -> None:
    plain, stepped = net(), net()
    torch.manual_seed(0)
    plain(batch()[0])
    torch.manual_seed(0)
    optimizer = sharp(stepped)
    optimizer.step(closure_of(optimizer, batch()))
    for (name, a), b in zip(plain.named_buffers(), stepped.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_7_both_passes_see_the_same_random_numbers() -> None:
    optimizer = sharp(net(dropout=0.5), rho=1e-30)
    optimizer.step(closure_of(optimizer, batch()))
    assert optimizer.stats is not None
    assert torch.equal(optimizer.stats.loss, optimizer.stats.perturbed_loss)


def test_8_weights_come_back_bit_for_bit_in_their_own_storage() -> None:
    model = net()
    optimizer = sharp(model, lr=0.0)
    before, places = [p.clone() for p in model.parameters()], [p.data_ptr() for p in model.parameters()]
    for seed in range(50):
        optimizer.step(closure_of(optimizer, batch(seed)))
    assert equal([p.detach() for p in model.parameters()], before)
    assert [p.data_ptr() for p in model.parameters()] == places


def test_9_a_resumed_run_ends_with_the_same_bits() -> None:
    optimizer = sharp(net())
    torch.manual_seed(4)
    for seed in range(3):
        optimizer.step(closure_of(optimizer, batch(seed)))
    kept = io.BytesIO()
    torch.save({"model": optimizer.model.state_dict(), "optimizer": optimizer.state_dict()}, kept)
    stream = torch.get_rng_state()
    resumed = sharp(copy.deepcopy(net()))
    kept.seek(0)
    state = torch.load(kept, weights_only=True)
    resumed.model.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    for which in (optimizer, resumed):
        torch.set_rng_state(stream)
        for seed in range(3, 6):
            which.step(closure_of(which, batch(seed)))
    assert equal(final(optimizer.model), final(resumed.model))


def test_10_it_takes_a_checkpoint_and_judges_the_result(tmp_path: Path) -> None:
    write_tiny_npz(tmp_path / "data")
    plain = {"model": {"arch": "resnet20-a"}, "method": {"name": "sgd"}}
    train(Recipe.model_validate(SMALL | plain), data_dir=tmp_path / "data", out=tmp_path / "model.pt")
    measured = Recipe.model_validate(SMALL | {"flatness": {"samples": 32, "ascent_steps": 1}})
    receipt = refine(tmp_path / "model.pt", measured, data_dir=tmp_path / "data", out_dir=tmp_path / "out")
    assert receipt["mcnemar"]["p_value"] <= 1
    assert receipt["verdict"]
    for side in ("before", "after"):
        assert receipt[side]["test"]["stderr"] >= 0
        assert receipt[side]["sharpness"]["adaptive"]["ascent"] >= 0
