"""Half precision with a scaler: one decision a step, whichever pass overflows (formulas.md, test 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.sam import SharpnessAware


def net() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 1, 6, 6, generator=generator), torch.randint(3, (8,), generator=generator)


def optimizer_of(model: nn.Module, scaler: Any = None, **settings: Any) -> SharpnessAware:
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return SharpnessAware(base, model=model, scaler=scaler, **{"method": "asam", "rho": 0.2, **settings})


def scaler_of(scale: float = 1024.0, **options: Any) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, **options)


def closure_of(
    optimizer: SharpnessAware, seed: int = 0, *, dtype: torch.dtype | None = None, bad_passes: tuple[int, ...] = ()
) -> Callable[[], Tensor]:
    """bad_passes: those (from 0) whose gradients get an infinite number, as an overflow gives."""
    x, y = images(seed)
    calls = iter(range(100))

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = nn.functional.cross_entropy(optimizer.model(x), y)
        optimizer.backward(loss)
        if next(calls) in bad_passes:
            weight = next(optimizer.model.parameters())
            assert weight.grad is not None
            weight.grad.view(-1)[0] = torch.inf
        return loss

    return closure


def snapshot(optimizer: SharpnessAware) -> list[Tensor]:
    momentum = [
        state["momentum_buffer"] for state in optimizer.state.values() if state.get("momentum_buffer") is not None
    ]
    return [value.clone() for value in (*optimizer.model.state_dict().values(), *momentum)]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("settings", [{}, {"method": "sam", "p": float("inf")}, {"penalty": 0.5}, {"ascent_steps": 3}])
def test_a_power_of_two_changes_no_bit(settings: dict[str, Any]) -> None:
    plain, scaled = optimizer_of(net(), **settings), optimizer_of(net(), scaler_of(2.0**16), **settings)
    for seed in range(5):
        plain.step(closure_of(plain, seed))
        scaled.step(closure_of(scaled, seed))
    assert equal(snapshot(plain), snapshot(scaled))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["asam", "sam"])
@pytest.mark.parametrize("p", [2.0, float("inf")])
@pytest.mark.parametrize("bad", [0, 1])
def test_an_overflow_in_either_pass_skips_the_step_and_halves_the_scale_once(
    dtype: torch.dtype, method: str, p: float, bad: int
) -> None:
    scaler = scaler_of()
    optimizer = optimizer_of(net(), scaler, method=method, p=p)
    optimizer.step(closure_of(optimizer, 0, dtype=dtype))
    before = snapshot(optimizer)
    optimizer.step(closure_of(optimizer, 1, dtype=dtype, bad_passes=(bad,)))
    assert equal(snapshot(optimizer), before)
    assert scaler.get_scale() == 512.0
    assert (optimizer.skipped, optimizer.steps) == (1, 2)
    optimizer.step(closure_of(optimizer, 2, dtype=dtype))
    assert not equal(snapshot(optimizer), before)
    assert scaler.get_scale() == 512.0


def test_one_bad_part_of_a_batch_is_enough() -> None:
    for settings in ({}, {"m_sharpness": True}):
        scaler = scaler_of()
        optimizer = optimizer_of(net(), scaler, **settings)
        before = snapshot(optimizer)
        optimizer.step([closure_of(optimizer, 0), closure_of(optimizer, 1, bad_passes=(1,))])
        assert equal(snapshot(optimizer), before)
        assert scaler.get_scale() == 512.0


def test_good_steps_let_the_scale_grow() -> None:
    scaler = scaler_of(growth_interval=3)
    optimizer = optimizer_of(net(), scaler)
    for seed in range(3):
        optimizer.step(closure_of(optimizer, seed))
    assert scaler.get_scale() == 2048.0


def test_a_closure_may_scale_the_loss_itself() -> None:
    ours, theirs = optimizer_of(net(), scaler_of()), optimizer_of(net(), scaler_of())
    x, y = images()

    def closure() -> Tensor:
        theirs.zero_grad()
        loss = nn.functional.cross_entropy(theirs.model(x), y)
        theirs.scaler.scale(loss).backward()  # pyright: ignore
        return loss

    ours.step(closure_of(ours))
    theirs.step(closure)
    assert equal(snapshot(ours), snapshot(theirs))


def test_the_scale_is_part_of_the_state() -> None:
    optimizer = optimizer_of(net(), scaler_of())
    optimizer.step(closure_of(optimizer, bad_passes=(0,)))
    again = optimizer_of(net(), scaler_of(65536.0))
    again.load_state_dict(optimizer.state_dict())
    assert again.scaler is not None
    assert again.scaler.get_scale() == 512.0
    with pytest.raises(ValueError, match="scaler"):
        optimizer_of(net()).load_state_dict(optimizer.state_dict())


def test_a_scaler_that_is_switched_off_is_as_good_as_none() -> None:
    plain, off = optimizer_of(net()), optimizer_of(net(), torch.amp.GradScaler("cpu", enabled=False))
    plain.step(closure_of(plain))
    off.step(closure_of(off))
    assert equal(snapshot(plain), snapshot(off))
