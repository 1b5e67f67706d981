"""The same step on every device that is there: against the slow reference in float64, resumed, and in half precision.

On a machine without CUDA the CPU alone is tested; nothing here needs a GPU.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core import reference
from lastsam_core.phase import Phase, Wish
from lastsam_core.recipe import Recipe
from lastsam_core.sam import SharpnessAware
from lastsam_core.tasks import Classification
from tests.factories import digest_of, small_net, tiny_batches

LR, MOMENTUM, DECAY, STEPS = 0.1, 0.9, 5e-4, 10


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()


def images(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (8,), generator=generator)


def reference_run(eps: Callable[[reference.Weights, reference.Weights], reference.Weights]) -> reference.Weights:
    """STEPS steps of the papers' algorithm on the CPU, in plain loops."""
    model = net()
    w = {name: p.detach().clone() for name, p in model.named_parameters()}
    velocity: reference.Weights = {}
    for step in range(STEPS):
        x, y = images(step)

        def gradient(at: reference.Weights, x: Tensor = x, y: Tensor = y) -> reference.Weights:
            at = {name: value.clone().requires_grad_() for name, value in at.items()}
            loss = nn.functional.cross_entropy(torch.func.functional_call(model, at, (x,)), y)
            return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

        w, velocity = reference.sharpness_aware_step(
            w, velocity, gradient, eps, lr=LR, momentum=MOMENTUM, weight_decay=DECAY
        )
    return w


CASES: dict[str, tuple[dict[str, Any], Callable[[reference.Weights, reference.Weights], reference.Weights]]] = {
    "sam": ({"method": "sam", "rho": 0.1}, lambda _, g: reference.sam_epsilon(g, rho=0.1)),
    "sam-inf": (
        {"method": "sam", "rho": 0.01, "p": math.inf},
        lambda _, g: reference.sam_epsilon(g, rho=0.01, p=math.inf),
    ),
    "sam-3": ({"method": "sam", "rho": 0.1, "p": 3.0}, lambda _, g: reference.sam_epsilon(g, rho=0.1, p=3.0)),
    "asam": ({"method": "asam", "rho": 0.5}, lambda w, g: reference.asam_epsilon(g, reference.t_of(w), rho=0.5)),
    "asam-filter": (
        {"method": "asam", "rho": 0.5, "normalize": "filter"},
        lambda w, g: reference.asam_epsilon(g, reference.t_of(w, filters=["0.weight"]), rho=0.5),
    ),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_steps_equal_the_reference_in_float64(case: str, fused: bool, device: torch.device) -> None:
    settings, eps = CASES[case]
    model = net().to(device)
    base = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=fused)
    optimizer = SharpnessAware(base, model=model, **settings)
    for step in range(STEPS):
        x, y = (value.to(device) for value in images(step))

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.backward(loss)
            return loss

        optimizer.step(closure)
    expected = reference_run(eps)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach().cpu(), expected[name], rtol=1e-10, atol=1e-12)


def phase_of(recipe: Recipe, device: torch.device, **options: Any) -> Phase:
    batches = tiny_batches(recipe)
    batches = type(batches)(
        batches.images.to(device), batches.labels.to(device), channels=CHANNELS, batch_size=recipe.batch_size, seed=0
    )
    return Phase(small_net(dropout=0.2).to(device), recipe, batches, Classification(), **options)


CHANNELS = Recipe.model_validate({"data": {"normalization": {"mean": [0.5], "std": [0.25]}}}).data.normalization


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["sgd", "sam", "asam"])
def test_a_resumed_phase_ends_with_the_same_bits(method: str, precision: str, device: torch.device) -> None:
    spec = {"method": {"name": method}, "epochs": 2, "batch_size": 32, "optimizer": {"lr": 0.05}}
    recipe = Recipe.model_validate(spec | {"precision": precision}).resolved()
    whole = phase_of(recipe, device)
    reports = list(whole.run())
    assert all(math.isfinite(report.loss) for report in reports)
    asked = iter([Wish.GO_ON, Wish.LEAVE])
    first = phase_of(recipe, device, between_steps=lambda _: next(asked))
    list(first.run())
    kept = io.BytesIO()
    torch.save(first.state_dict(), kept)
    kept.seek(0)
    second = phase_of(recipe, device)
    second.load_state_dict(torch.load(kept, map_location=device, weights_only=True))
    list(second.run())
    assert digest_of(second.model.state_dict()) == digest_of(whole.model.state_dict())


def test_a_random_direction_and_parts_work_on_the_device(device: torch.device) -> None:
    fields = {"method": {"name": "sam", "direction": "random", "m": 8}, "batch_size": 32, "epochs": 1}
    phase = phase_of(Recipe.model_validate(fields).resolved(), device)
    (report,) = phase.run()
    assert report.eps_norm == pytest.approx(0.05, rel=1e-5)
