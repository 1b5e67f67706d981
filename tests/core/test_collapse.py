"""A collapsed network is told from a worse one, and never delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastsam_core.collapse import collapsed
from lastsam_core.errors import Diverged
from lastsam_core.recipe import Recipe
from lastsam_core.refining import refine
from lastsam_core.training import train
from tests.factories import SMALL, write_tiny_npz


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [(0.99, 0.10, 10), (0.99, 0.30, 10), (0.92, 0.0, 10), (0.75, 0.012, 100), (0.98, 0.51, 2)],
)
def test_next_to_chance_is_collapse(before: float, after: float, classes: int) -> None:
    assert collapsed(before, after, classes)


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [
        (0.99, 0.57, 10),  # LastSAM-SAM at rho 5: bad, and reported as such
        (0.99, 0.99, 10),
        (0.60, 0.40, 10),
        (0.10, 0.10, 10),  # a fresh head has nothing to lose
        (0.15, 0.10, 10),
        (0.75, 0.30, 100),
        (0.98, 0.65, 2),
    ],
)
def test_worse_is_not_collapse(before: float, after: float, classes: int) -> None:
    assert not collapsed(before, after, classes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.npz and model.pt, a network that knows its training images."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny_npz(folder, classes=4, train=64, test=32)
    spec = SMALL | {"model": {"arch": "resnet20-a"}, "method": {"name": "sgd"}, "epochs": 12, "optimizer": {"lr": 0.05}}
    data = {"name": "tiny", "normalization": {"mean": [0.5], "std": [0.25]}, "augment": "none"}
    train(Recipe.model_validate(spec | {"data": data}), data_dir=folder, out=folder / "model.pt")
    return folder


def refined(folder: Path, out: Path, **fields: Any) -> dict[str, Any]:
    data = {"name": "tiny", "normalization": {"mean": [0.5], "std": [0.25]}, "augment": "none"}
    recipe = Recipe.model_validate(SMALL | {"data": data, "epochs": 1} | fields)
    return refine(folder / "model.pt", recipe, data_dir=folder, out_dir=out)


@pytest.mark.parametrize(
    "fields", [{"optimizer": {"lr": 1000}}, {"method": {"name": "sam", "rho": 50}, "optimizer": {"lr": 0.5}}]
)
def test_a_collapsed_network_is_never_delivered(fields: dict[str, Any], trained: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged) as caught:
        refined(trained, tmp_path, **fields)
    assert "epoch" in caught.value.message
    assert "method.rho" in (caught.value.hint or "")
    assert not list(tmp_path.glob("weights*"))


@pytest.mark.parametrize("fields", [{"method": {"name": "sgd"}}, {"method": {"name": "sam"}}, {"method": {"rho": 1.0}}])
def test_a_healthy_phase_raises_no_alarm(fields: dict[str, Any], trained: Path, tmp_path: Path) -> None:
    receipt = refined(trained, tmp_path, **fields | {"optimizer": {"lr": 0.02}})
    assert receipt["delivered"] == "refined"
