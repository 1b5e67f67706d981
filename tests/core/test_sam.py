"""The optimizer around the optimizer: what a step computes, and what it must leave alone."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.sam import SharpnessAware

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "fused_adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
}


def net(*, dropout: float = 0.3, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 3)
    ).to(dtype)


def batch(i: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + i)
    return torch.randn(12, 1, 6, 6, generator=generator).to(dtype), torch.randint(3, (12,), generator=generator)


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def sam(model: nn.Module, **settings: Any) -> SharpnessAware:
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return SharpnessAware(base, model=model, **{"method": "sam", "rho": 0.1, **settings})


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("settings", [{"method": "sgd"}, {"method": "sam", "rho": 0.0}, {"method": "asam", "rho": 0.0}])
def test_without_a_radius_it_is_the_base_bit_for_bit(name: str, settings: dict[str, Any]) -> None:
    plain, wrapped = net(), net()
    base = OPTIMIZERS[name](plain.parameters())
    optimizer = SharpnessAware(OPTIMIZERS[name](wrapped.parameters()), model=wrapped, **settings)
    torch.manual_seed(0)
    expected = [base.step(closure_of(plain, base, *batch(i))).item() for i in range(10)]  # pyright: ignore
    torch.manual_seed(0)
    assert [optimizer.step(closure_of(wrapped, optimizer, *batch(i))).item() for i in range(10)] == expected
    assert_equal(state(wrapped), state(plain))
    assert optimizer.passes == 10
    assert optimizer.stats is not None
    assert float(optimizer.stats.eps_norm) == 0


@pytest.mark.parametrize("method", ["sam", "asam"])
def test_both_passes_see_the_same_dropout_and_the_stream_moves_on_by_one_pass(method: str) -> None:
    # A radius too small to move any weight: both passes then give one gradient only if their masks agree.
    plain, wrapped = net(dropout=0.5), net(dropout=0.5)
    base = OPTIMIZERS["sgd"](plain.parameters())
    optimizer = sam(wrapped, method=method, rho=1e-30)
    for i in range(5):
        torch.manual_seed(i)
        base.step(closure_of(plain, base, *batch(i)))  # pyright: ignore[reportCallIssue, reportArgumentType]
        stream = torch.get_rng_state()
        torch.manual_seed(i)
        optimizer.step(closure_of(wrapped, optimizer, *batch(i)))
        assert torch.equal(torch.get_rng_state(), stream)
    assert_equal(state(wrapped), state(plain))
    assert optimizer.passes == 10


@pytest.mark.parametrize("method", ["sam", "asam"])
def test_a_thousand_steps_at_lr_zero_change_nothing(method: str) -> None:
    # BatchNorm's statistics follow the batches in any training, so the copy runs the same forwards, and no steps.
    model = net()
    plain = copy.deepcopy(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    storages = [t.data_ptr() for t in model.state_dict().values()]
    optimizer = SharpnessAware(
        torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9), model=model, method=method, rho=0.5
    )
    closure = closure_of(model, optimizer, *batch())
    for i in range(1000):
        torch.manual_seed(i)
        optimizer.step(closure)
    with torch.no_grad():
        for _ in range(1000):
            plain(batch()[0])
    assert_equal({name: p.detach() for name, p in model.named_parameters()}, before)
    assert_equal(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert [t.data_ptr() for t in model.state_dict().values()] == storages
    assert optimizer.passes == 2000


def test_batch_norm_counts_one_plain_forward() -> None:
    model = net()
    plain = copy.deepcopy(model)
    optimizer = sam(model, rho=2.0)
    optimizer.step(closure_of(model, optimizer, *batch()))
    plain(batch()[0])
    assert_equal(dict(model.named_buffers()), dict(plain.named_buffers()))
    both = net()
    optimizer = sam(both, rho=2.0, second_pass="update")
    optimizer.step(closure_of(both, optimizer, *batch()))
    assert int(both.state_dict()["1.num_batches_tracked"]) == 2
    assert not torch.equal(both.state_dict()["1.running_mean"], plain.state_dict()["1.running_mean"])


def test_the_second_pass_is_at_w_plus_eps_and_the_step_at_w() -> None:
    model = net(dropout=0.0)
    optimizer = sam(model, rho=0.3)
    seen: list[dict[str, Tensor]] = []
    inner = closure_of(model, optimizer, *batch())

    def closure() -> Tensor:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return inner()

    base_saw: list[bool] = []
    optimizer.base.register_step_pre_hook(
        lambda *_: base_saw.append(all(torch.equal(p, seen[0][n]) for n, p in model.named_parameters()))
    )
    loss = optimizer.step(closure)
    stats = optimizer.stats
    assert base_saw == [True]
    assert stats is not None
    distance = math.sqrt(sum(float((seen[1][n] - seen[0][n]).square().sum()) for n in seen[0]))
    assert distance == pytest.approx(0.3, rel=1e-5)
    assert float(stats.eps_norm) == pytest.approx(0.3, rel=1e-5)
    assert float(stats.loss) == float(loss)
    assert float(stats.perturbed_loss) > float(loss)
    assert not loss.requires_grad


@pytest.mark.parametrize("set_to_none", [True, False])
def test_stats_are_those_of_the_two_gradients(set_to_none: bool) -> None:
    model = net(dropout=0.0, dtype=torch.float64)
    optimizer = sam(model, rho=0.3)
    gradients: list[Tensor] = []
    x, y = batch(dtype=torch.float64)

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]))
        return loss

    optimizer.step(closure)
    g, g_s = gradients
    assert optimizer.stats is not None
    assert float(optimizer.stats.grad_norm) == pytest.approx(float(g.norm()), rel=1e-12)
    assert float(optimizer.stats.cosine) == pytest.approx(float(g @ g_s / g.norm() / g_s.norm()), rel=1e-12)


def test_scope_norm_moves_normalisation_layers_only() -> None:
    model = net(dropout=0.0, dtype=torch.float64)
    optimizer = sam(model, method="asam", rho=0.3, scope="norm")
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    moved: list[set[str]] = []
    inner = closure_of(model, optimizer, *batch(dtype=torch.float64))

    def closure() -> Tensor:
        moved.append({name for name, p in model.named_parameters() if not torch.equal(p, start[name])})
        return inner()

    optimizer.step(closure)
    assert moved == [set(), {"1.weight", "1.bias"}]
    assert all(not torch.equal(p, start[name]) for name, p in model.named_parameters())
    with pytest.raises(ValueError, match="normalisation"):
        sam(nn.Sequential(nn.Linear(2, 2)), scope="norm")


class Boom(Exception):
    pass


@pytest.mark.parametrize("in_pass", [1, 2])
@pytest.mark.parametrize("after_backward", [False, True])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_an_error_in_either_pass_leaves_no_trace(in_pass: int, after_backward: bool, set_to_none: bool) -> None:
    model = net()
    optimizer = sam(model, rho=0.5)
    optimizer.step(closure_of(model, optimizer, *batch()))
    before, momenta = state(model), copy.deepcopy(optimizer.state_dict()["state"])
    owned = [p.grad for p in model.parameters()]
    gradients = [g.clone() for g in owned if g is not None]
    stream = torch.get_rng_state()
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = nn.functional.cross_entropy(model(batch(1)[0]), batch(1)[1])
        if calls == in_pass and not after_backward:
            raise Boom
        loss.backward()
        if calls == in_pass:
            raise Boom
        return loss

    with pytest.raises(Boom):
        optimizer.step(closure)
    assert_equal(state(model), before)
    assert all(p.grad is g for p, g in zip(model.parameters(), owned, strict=True))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), stream)
    assert model[1].track_running_stats
    torch.testing.assert_close(optimizer.state_dict()["state"], momenta, rtol=0, atol=0)
    # So the step can simply be made again, and is the one that would have been made.
    calls = 3
    optimizer.step(closure)
    unbroken = net()
    other = sam(unbroken, rho=0.5)
    for i in range(2):
        other.step(closure_of(unbroken, other, *batch(i)))
    assert_equal(state(model), state(unbroken))


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_parameter_with_a_gradient_in_only_some_passes(first: bool, second: bool) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"always": nn.Linear(3, 1), "sometimes": nn.Linear(3, 1)})
    optimizer = SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1), model=model, method="sam", rho=0.5)
    x, start = torch.randn(5, 3), state(model)
    seen: list[Tensor] = []
    expected: dict[str, Tensor] = {}

    def closure() -> Tensor:
        optimizer.zero_grad()
        seen.append(model["sometimes"].weight.detach().clone())
        used = [first, second][len(seen) - 1]
        loss = model["always"](x).square().mean()
        if used:
            loss = loss + model["sometimes"](x).square().mean()
        loss.backward()
        for name, p in model.named_parameters():
            expected[name] = start[name] if p.grad is None else start[name] - 0.1 * p.grad
        return loss

    optimizer.step(closure)
    assert torch.equal(seen[1], start["sometimes.weight"]) is not first
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-6, atol=1e-7)
    if not second:
        assert torch.equal(model["sometimes"].weight, start["sometimes.weight"])


@pytest.mark.parametrize("method", ["sgd", "sam", "asam"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("in_pass", [1, 2])
def test_a_step_that_is_not_finite_is_skipped(method: str, what: str, in_pass: int) -> None:
    if method == "sgd" and in_pass == 2:
        in_pass = 1
    model = net()
    optimizer = sam(model, method=method)
    optimizer.step(closure_of(model, optimizer, *batch()))
    before, momenta = state(model), copy.deepcopy(optimizer.state_dict()["state"])
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        x = batch(1)[0] * (math.inf if calls == in_pass and what == "loss" else 1.0)
        loss = nn.functional.cross_entropy(model(x), batch(1)[1])
        loss.backward()
        if calls == in_pass and what == "gradient":
            model[5].weight.grad[0, 0] = math.inf  # pyright: ignore
        return loss

    optimizer.step(closure)
    assert_equal(state(model), before)
    torch.testing.assert_close(optimizer.state_dict()["state"], momenta, rtol=0, atol=0)
    assert (optimizer.skipped, calls) == (1, in_pass)
    calls = 3
    optimizer.step(closure)
    assert optimizer.skipped == 1
    assert all(p.isfinite().all() for p in model.state_dict().values())


def test_without_the_guard_nothing_is_skipped() -> None:
    model = net()
    optimizer = sam(model, guard=False)
    optimizer.step(closure_of(model, optimizer, batch()[0] * math.nan, batch()[1]))
    assert optimizer.skipped == 0
    assert model[5].weight.isnan().any()


def test_schedulers_groups_and_hooks_work_as_with_the_base() -> None:
    model = net()
    base = torch.optim.SGD([{"params": list(model[0].parameters())}], lr=0.1, momentum=0.9)
    optimizer = SharpnessAware(base, model=model, method="sam", rho=0.05)
    optimizer.add_param_group({"params": list(model[5].parameters()), "lr": 0.01})
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    start = state(model)
    for i in range(4):
        optimizer.step(closure_of(model, optimizer, *batch(i)))
        scheduler.step()
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert [group["lr"] for group in base.param_groups] == pytest.approx([0, 0], abs=1e-12)
    assert optimizer.param_groups is base.param_groups
    assert optimizer.state is base.state
    assert optimizer.defaults is base.defaults
    assert calls == ["before", "after"] * 4
    assert not torch.equal(model[5].weight, start["5.weight"])
    assert torch.equal(model[1].weight, start["1.weight"])  # in no group, so neither perturbed nor stepped
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for group in base.param_groups for p in group["params"])
    # Groups that were given to the base behind its back are found too.
    base.add_param_group({"params": list(model[1].parameters())})
    optimizer.step(closure_of(model, optimizer, *batch(9)))
    assert "SharpnessAware" in repr(optimizer)


def test_an_autocast_region_around_the_step_does_not_reuse_the_first_pass_casts() -> None:
    results = []
    for around in (False, True):
        model = net(dropout=0.0)
        optimizer = sam(model, rho=0.5)
        closure = closure_of(model, optimizer, *batch())
        if around:
            with torch.autocast("cpu", torch.bfloat16):
                optimizer.step(closure)
        else:
            optimizer.step(torch.autocast("cpu", torch.bfloat16)(closure))
        results.append(state(model))
    assert_equal(*results)


def test_the_saved_weights_are_kept_in_one_buffer() -> None:
    model = net()
    optimizer = sam(model)
    optimizer.step(closure_of(model, optimizer, *batch()))
    first = {i: t.data_ptr() for i, t in optimizer._search._spare._kept.items()}
    optimizer.step(closure_of(model, optimizer, *batch(1)))
    assert {i: t.data_ptr() for i, t in optimizer._search._spare._kept.items()} == first
    assert len(first) == len(list(model.parameters()))


def test_what_it_refuses() -> None:
    model = net()
    base = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(ValueError, match="method"):
        SharpnessAware(base, model=model, method="gsam")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="second_pass"):
        SharpnessAware(base, model=model, second_pass="skip")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="not the model's"):
        SharpnessAware(OPTIMIZERS["sgd"](net().parameters()), model=model)
    for wrong in (torch.optim.LBFGS(model.parameters()), SharpnessAware(base, model=model), torch.optim.SGD):
        with pytest.raises(TypeError, match="base must be"):
            SharpnessAware(wrong, model=model)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="closure"):
        SharpnessAware(base, model=model).step()


def test_nothing_outlives_the_optimizer() -> None:
    """Without a cycle: the copy of the weights goes with it, not when the garbage collector comes by."""
    model = net()
    optimizer = sam(model)
    optimizer.step(closure_of(model, optimizer, *batch()))
    kept = weakref.ref(optimizer._search._spare)
    gc.disable()
    try:
        del optimizer
        assert kept() is None
    finally:
        gc.enable()
