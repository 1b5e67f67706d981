"""Noise and rounding do what they say, and find the fragile network of two that compute the same."""

from __future__ import annotations

import math

import pytest
import torch

from lastsam_core.evaluation import evaluate
from lastsam_core.flatness import evaluate_int8, weight_noise
from lastsam_core.flatness.robustness import int8
from tests.core.flatness.nets import images, net


def test_int8_has_255_levels_a_channel_and_errs_by_half_a_step() -> None:
    w = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1, 10, 0, 5]).view(
        5, 1, 1, 1
    )
    rounded = int8(w)
    for channel, original in zip(rounded, w, strict=True):
        step = float(original.abs().max()) / 127
        assert float((channel - original).abs().max()) <= step * 0.5001
        if step:
            levels = channel / step
            torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
            assert float(levels.abs().max()) == pytest.approx(127)
    assert not rounded[3].any()
    torch.testing.assert_close(int8(rounded), rounded)
    bias = torch.randn(7)
    assert torch.equal(int8(bias), bias)


def test_int8_evaluation_is_that_of_a_rounded_copy() -> None:
    x, y = images(40)
    model, rounded = net(), net()
    with torch.no_grad():
        for p in rounded.parameters():
            p.copy_(int8(p))
    expected, found = evaluate(rounded, [(x, y)]), evaluate_int8(model, [(x, y)])
    assert found.as_json() == expected.as_json()
    assert found.nll != evaluate(model, [(x, y)]).nll


def test_noise_grows_with_sigma_and_none_is_the_model() -> None:
    x, y = images(40)
    plain = evaluate(net(), [(x, y)])
    labels = plain.predictions.long()  # the model is always right, until it is disturbed
    found = weight_noise(net(), [(x, labels)], sigmas=(0.0, 0.1, 2.0), draws=6)
    assert [one.sigma for one in found] == [0.0, 0.1, 2.0]
    assert (found[0].accuracy, found[0].accuracy_stderr, found[0].nll_stderr) == (1.0, 0.0, 0.0)
    assert found[0].accuracy >= found[1].accuracy > found[2].accuracy
    assert found[2].nll > found[1].nll
    assert found[2].accuracy_stderr is not None
    assert 0 < found[2].accuracy_stderr < 0.3
    assert weight_noise(net(), [(x, y)], sigmas=(0.1,), draws=1)[0].nll_stderr is None


def test_noise_is_relative_to_each_weight() -> None:
    x, y = images(10)
    model = net()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    (found,) = weight_noise(model, [(x, y)], sigmas=(10.0,), draws=3)
    assert found.nll == pytest.approx(math.log(3))
    assert found.nll_stderr == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"sigmas": (-0.1,)}, {"sigmas": (math.nan,)}, {"draws": 0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least"):
        weight_noise(net(), [images(4)], **wrong)  # pyright: ignore[reportArgumentType]
