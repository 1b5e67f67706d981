"""Statistics after re-estimation are those of the images, whatever they were before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lastsam_core.flatness import renormalize
from tests.core.flatness.nets import batches_of, images, net


def test_statistics_are_the_mean_of_the_batches_by_their_sizes() -> None:
    x, y = images(30)
    model = net().eval()
    model[1].momentum = 0.3
    expected_mean, expected_var = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    with torch.no_grad():
        for part in x.split(12):
            out = model[0](part).transpose(0, 1).flatten(1)
            expected_mean += out.mean(dim=1) * len(part) / 30
            expected_var += out.var(dim=1) * len(part) / 30
        model[1].running_mean.fill_(float("nan"))
    renormalize(model, batches_of(12, x, y))
    torch.testing.assert_close(model[1].running_mean, expected_mean)
    torch.testing.assert_close(model[1].running_var, expected_var)
    assert (model[1].momentum, model[1].training) == (0.3, False)
    assert not any(module.training for module in model.modules())


def test_later_layers_see_normalised_inputs_and_dropout_stays_out() -> None:
    x, y = images(16)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(25), nn.Dropout(0.9), nn.Linear(25, 3), nn.BatchNorm1d(3))
    model = model.double().eval()
    renormalize(model, [(x, y)])
    with torch.no_grad():
        hidden = nn.functional.batch_norm(x.flatten(1), None, None, training=True, eps=1e-5)
        torch.testing.assert_close(model[4].running_mean, model[3](hidden).mean(dim=0), atol=1e-9, rtol=1e-9)


def test_a_model_without_statistics_is_not_even_run() -> None:
    def never() -> list[tuple[torch.Tensor, torch.Tensor]]:
        raise AssertionError("asked for images")

    renormalize(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)), never)
    with pytest.raises(ValueError, match="no images"):
        renormalize(net(), [])
