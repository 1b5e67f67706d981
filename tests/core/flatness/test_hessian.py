"""The Hessian against autograd's dense one, against known spectra, and against curvlinops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lastsam_core.errors import Diverged
from lastsam_core.flatness import HessianProduct, hessian_spectrum
from tests.core.flatness.nets import ONE, Quadratic, batches_of, images, mean, net


def dense(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian in full, by torch.autograd.functional.hessian, over the parameters in order."""
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        weights = {name: part.view_as(p) for (name, p), part in parts}
        return nn.functional.cross_entropy(functional_call(model, weights, (x,)), y)

    flat = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
    found = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("cut", [30, 7])
def test_products_equal_the_dense_hessian(cut: int) -> None:
    x, y = images(30)
    model = net().eval()
    h = dense(model, x, y)
    product = HessianProduct(model, batches_of(cut, x, y), nn.CrossEntropyLoss())
    vectors = torch.randn(3, len(h), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(product(vectors), vectors @ h, rtol=1e-10, atol=1e-10)
    assert torch.equal(product(vectors[1]), product(vectors)[1])
    assert product.count == 7
    assert product.dimension == 40 + 8 + 111


# A dependency of curvlinops still says torch.jit.script when it is imported.
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_products_equal_curvlinops() -> None:
    from curvlinops import HessianLinearOperator

    x, y = images(30)
    model = net().eval()
    batches = batches_of(8, x, y)
    product = HessianProduct(model, batches, nn.CrossEntropyLoss())
    theirs = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    )
    v = torch.randn(product.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(product(v), theirs @ v, rtol=1e-10, atol=1e-10)


def test_spectrum_of_a_network_equals_the_dense_one() -> None:
    x, y = images(30)
    model = net()
    values = torch.linalg.eigvalsh(dense(model.eval(), x, y))
    found = hessian_spectrum(model, batches_of(8, x, y), nn.CrossEntropyLoss(), 5, tolerance=1e-9, iterations=60)
    np.testing.assert_allclose(found.eigenvalues, values.flip(0)[:5], rtol=1e-9)
    assert max(found.residuals) < 1e-8 * found.eigenvalues[0]
    assert found.products < 60 + 5 + 8
    assert found.lowest >= float(values[0]) - 1e-10
    assert found.ratio_1_5 == pytest.approx(float(values[-1] / values[-5]))
    assert found.trace == pytest.approx(float(values.sum()), abs=4 * (found.trace_stderr or 0) + 1e-9)


def test_an_uneven_last_batch_changes_nothing() -> None:
    x, y = images(29)
    one, many = (
        hessian_spectrum(net(), batches_of(size, x, y), nn.CrossEntropyLoss(), 3, iterations=12) for size in (29, 8)
    )
    np.testing.assert_allclose(one.eigenvalues, many.eigenvalues, rtol=1e-9)
    assert one.trace == pytest.approx(many.trace, rel=1e-9)


def test_known_spectra() -> None:
    spectrum = [9.0, 4.0, 4.0, 1.0, 0.5, 0.0, -2.0]
    found = hessian_spectrum(Quadratic(spectrum), ONE, mean, 7, iterations=7, tolerance=0)
    np.testing.assert_allclose(found.eigenvalues, spectrum, atol=1e-12)
    assert max(found.residuals) < 1e-12
    assert found.lowest == pytest.approx(-2.0)
    assert (found.trace, found.trace_stderr) == (pytest.approx(sum(spectrum)), 0.0)
    assert found.ratio_1_5 == pytest.approx(18.0)


def test_a_ball_bends_alike_in_all_directions() -> None:
    found = hessian_spectrum(Quadratic([3.0] * 6), ONE, mean, 4, iterations=5)
    np.testing.assert_allclose(found.eigenvalues, [3.0] * 4)
    assert found.ratio_1_5 is None


def test_residuals_say_when_it_stopped_too_early() -> None:
    spectrum = [float(i) for i in range(1, 61)]
    model = Quadratic(spectrum)
    found = hessian_spectrum(model, ONE, mean, 2, iterations=6)
    assert found.residuals[0] > 0.1
    for value, residual in zip(found.eigenvalues, found.residuals, strict=True):
        assert min(abs(value - true) for true in spectrum) <= residual


def test_the_trace_is_within_its_standard_error_and_that_is_honest() -> None:
    spectrum = [1.5**-i for i in range(40)]
    model = Quadratic(spectrum)
    found = [hessian_spectrum(model, ONE, mean, 1, iterations=2, probes=6, seed=100 * s) for s in range(60)]
    errors = [one.trace - sum(spectrum) for one in found if one.trace is not None]
    spread = np.std(errors)
    claimed = np.sqrt(np.mean([(one.trace_stderr or 0) ** 2 for one in found]))
    assert spread == pytest.approx(claimed, rel=0.35)
    assert abs(np.mean(errors)) < 4 * spread / np.sqrt(60)


def test_without_probes_there_is_no_trace() -> None:
    found = hessian_spectrum(Quadratic([2.0, 1.0, 0.5]), ONE, mean, 1, iterations=1, probes=0)
    assert (found.trace, found.trace_stderr) == (None, None)
    assert found.products == 2


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 3, "iterations": 2}, {"probes": -1}, {"tolerance": float("nan")}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        hessian_spectrum(Quadratic([1.0, 2.0]), ONE, mean, **wrong)


def test_a_hessian_that_is_not_finite_is_said() -> None:
    model = Quadratic([1.0, 2.0])
    with torch.no_grad():
        model.weight.fill_(float("inf"))

    def root(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.mean().sqrt()

    with pytest.raises(Diverged, match="Hessian"):
        hessian_spectrum(model, ONE, root, 1)


@pytest.mark.realdata
def test_a_real_checkpoint(data_dir: Path, real_checkpoint: Callable[[str], Path]) -> None:
    from lastsam_core.checkpoints import load_checkpoint
    from lastsam_core.data import EvalBatches, load_dataset, resident
    from lastsam_core.data.normalization import KNOWN

    model = load_checkpoint(real_checkpoint("resnet20-a-imagenetnorm-91.73.th")).model
    dataset = load_dataset("cifar10", data_dir)
    sample = EvalBatches(
        *resident(dataset.x_train, dataset.y_train, np.arange(64)), channels=KNOWN["imagenet"], batch_size=64
    )
    found = hessian_spectrum(model, sample, nn.CrossEntropyLoss(), 1, iterations=10, tolerance=0.05, probes=0)
    assert found.dimension == 269_722
    assert 1 < found.eigenvalues[0] < 1000
    assert found.residuals[0] < 0.1 * found.eigenvalues[0]
