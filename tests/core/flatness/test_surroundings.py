"""Every instrument leaves weights, buffers, modes, gradients and random numbers as it found them; also on errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.flatness import (
    average_sharpness,
    evaluate_int8,
    hessian_spectrum,
    loss_barrier,
    loss_landscape,
    m_sharpness,
    reliability,
    sharpness,
    spectral_density,
    weight_noise,
)
from lastsam_core.flatness.surroundings import in_chunks, mean_loss
from tests.core.flatness.nets import batches_of, images, net

SET = batches_of(8, *images(12))

INSTRUMENTS: dict[str, Callable[[nn.Module, Any, Any], object]] = {
    "sharpness": lambda m, b, c: sharpness(m, b, c, rho=0.3, steps=2),
    "m_sharpness": lambda m, b, c: m_sharpness(m, b, c, m=5, rho=0.3, steps=1),
    "average": lambda m, b, c: average_sharpness(m, b, c, radius=0.1, adaptive=True, pairs=2),
    "hessian": lambda m, b, c: hessian_spectrum(m, b, c, 2, iterations=3, probes=2),
    "density": lambda m, b, c: spectral_density(m, b, c, probes=1, steps=3),
    "landscape": lambda m, b, c: loss_landscape(m, b, c, points=3, statistics=b),
    "barrier": lambda m, b, c: loss_barrier(m, net(5), b, c, points=3),
    "noise": lambda m, b, c: weight_noise(m, b, sigmas=(0.1,), draws=2),
    "int8": lambda m, b, c: evaluate_int8(m, b),
    "reliability": lambda m, b, c: reliability(m, b() if callable(b) else b),
}


class Tripwire:
    """The set, until it has given so many batches."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> Any:
        for batch in SET:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("interrupted")
            yield batch


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_the_model_is_left_as_it_was(name: str) -> None:
    model = net()
    model.train()
    model[1].eval()
    nn.CrossEntropyLoss()(model(SET[0][0]), SET[0][1]).backward()
    gradients = [p.grad for p in model.parameters()]
    kept = [g.clone() for g in gradients if g is not None]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    places = [tensor.data_ptr() for tensor in model.state_dict().values()]
    momentum = model[1].momentum
    rng = torch.get_rng_state()

    def check() -> None:
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
        assert [tensor.data_ptr() for tensor in model.state_dict().values()] == places
        assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
        assert all(torch.equal(g, k) for g, k in zip(gradients, kept, strict=True) if g is not None)
        assert [m.training for m in model] == [True, False, True, True, True, True]
        assert model[1].momentum == momentum
        assert torch.equal(torch.get_rng_state(), rng)

    # Made beforehand: what the instrument is given may draw random numbers, the instrument may not.
    instrument = INSTRUMENTS[name]
    if name == "barrier":
        other = net(5)
        instrument = lambda m, b, c: loss_barrier(m, other, b, c, points=3)  # noqa: E731
        rng = torch.get_rng_state()
    first = instrument(model, lambda: iter(SET), nn.CrossEntropyLoss())
    check()
    again = instrument(model, lambda: iter(SET), nn.CrossEntropyLoss())
    assert str(first) == str(again)
    once = name in ("m_sharpness", "int8", "reliability")
    with pytest.raises(RuntimeError, match="interrupted"):
        instrument(model, Tripwire(1 if once else 3), nn.CrossEntropyLoss())
    check()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_an_empty_set_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no images|nothing to"):
        INSTRUMENTS[name](net(), [], nn.CrossEntropyLoss())


def test_the_loss_is_a_mean_over_images_however_they_are_cut() -> None:
    x, y = images(30)
    model = net().eval()
    whole = mean_loss(model, [(x, y)], nn.CrossEntropyLoss())
    assert mean_loss(model, batches_of(7, x, y), nn.CrossEntropyLoss()) == pytest.approx(whole, rel=1e-13)


@pytest.mark.parametrize("size", [1, 4, 7, 30, 100])
def test_chunks_are_the_same_images_in_the_same_order(size: int) -> None:
    x, y = images(30)
    chunks = list(in_chunks(batches_of(8, x, y), size))
    assert torch.equal(torch.cat([part for part, _ in chunks]), x)
    assert torch.equal(torch.cat([part for _, part in chunks]), y)
    lengths = [len(part) for _, part in chunks]
    assert all(n == size for n in lengths[:-1])
    assert 0 < lengths[-1] <= size


def test_the_criterion_may_look_at_anything_of_the_model() -> None:
    """Losses linear in a parameter, and parameters that the loss does not see, have no row in the Hessian."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
            self.unseen = nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return (self.seen * x).sum()

    batches = [(torch.ones(1, 2, dtype=torch.float64), torch.zeros(1))]
    found = hessian_spectrum(Odd(), batches, lambda out, _: out, 2, iterations=4)
    assert found.eigenvalues == (0.0, 0.0)
    assert found.trace == 0.0
