from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lastsam_core.checkpoints import load_checkpoint
from lastsam_core.data import find_normalization, load_dataset, normalized, resident
from lastsam_core.data.normalization import KNOWN, OWN, dataset_channels


class Constant(nn.Module):
    """Does not look at its input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 4, device=x.device)


def test_the_figures_of_a_dataset_are_numpys(dataset) -> None:
    data = dataset(channels=2)
    found = dataset_channels(data)
    assert found.mean == pytest.approx((data.x_train / 255).mean(axis=(0, 1, 2)), rel=1e-12)
    assert found.std == pytest.approx((data.x_train / 255).std(axis=(0, 1, 2)), rel=1e-9)


def test_a_channel_that_never_changes_does_no_harm(dataset) -> None:
    data = dataset()
    assert dataset_channels(replace(data, x_train=np.full_like(data.x_train, 9))).std == pytest.approx((1 / 255,) * 3)


@pytest.mark.parametrize("used", ["half", "imagenet", "cifar10-papers", "dataset"])
def test_finds_what_a_model_was_trained_with(used: str) -> None:
    # A linear model at the minimum of its convex loss: any other scaling of its inputs can only be worse.
    data = load_dataset("digits", Path("/nowhere"))
    channels = dataset_channels(data) if used == "dataset" else KNOWN[used]
    x, y = resident(data.x_train, data.y_train)
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")
    features = model[:2](normalized(x, channels))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model[2](features), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = find_normalization(model, data, n=1438)
    assert found.name == used
    assert found.channels.std == (channels.std if len(channels.std) == 3 else channels.std * 3)
    assert found.how.startswith("lowest loss of 7 candidates on 1438 training images")
    losses = [candidate.nll for candidate in found.candidates]
    assert losses == sorted(losses)
    assert len(losses) == 7


def test_the_test_set_has_no_say(dataset) -> None:
    torch.manual_seed(0)
    data, model = dataset(), nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    blank = replace(data, x_test=data.x_test * 0, y_test=data.y_test * 0)
    assert find_normalization(model, data) == find_normalization(model, blank)


def test_ties_are_called_ties(dataset) -> None:
    found = find_normalization(Constant(), dataset())
    assert len(found.ties) == len(found.candidates) - 1
    assert "near-tie with" in found.how


def test_candidates_fit_the_channels(dataset) -> None:
    for channels, names in ((1, {"mnist", "half", "none", "dataset"}), (5, {"half", "none", "dataset"})):
        found = find_normalization(Constant(), dataset(channels=channels))
        assert {c.name for c in found.candidates} == names
        assert all(len(c.mean) == len(c.std) == channels for c in found.candidates)


@pytest.mark.parametrize("name", OWN)
def test_the_figures_of_a_dataset_are_tried_on_it_alone(dataset, name: str) -> None:
    found = find_normalization(Constant(), replace(dataset(), name=name))
    assert {c.name for c in found.candidates} == {
        c.name for c in find_normalization(Constant(), dataset()).candidates
    } | {name}


def test_a_normalisation_that_breaks_the_model_comes_last(dataset) -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Constant()(x) + (x.amin() + 0.01).log()  # NaN unless inputs are all positive

    found = find_normalization(Fragile(), dataset())
    assert found.name == "none"
    assert found.ties == ()


def test_the_model_is_left_as_it_was(dataset) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    find_normalization(model, dataset())
    assert model[0].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "name"),
    [("resnet20-a-imagenetnorm-91.73.th", "imagenet"), ("resnet20-b-legacy-epoch1-59.46.t7", "cifar10")],
)
def test_finds_what_other_peoples_checkpoints_were_trained_with(data_dir, real_checkpoint, file, name) -> None:
    model = load_checkpoint(real_checkpoint(file)).model.to(memory_format=torch.channels_last)
    found = find_normalization(model, load_dataset("cifar10", data_dir), n=600)
    assert (found.name, found.ties) == (name, ())
