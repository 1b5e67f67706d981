"""The main job on real input: checkpoints other people trained, CIFAR-10, and nothing but HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.e2e.conftest import Stack

# One file is evaluated in int8 as well: 10,000 images more on either side of the phase.
IN_INT8 = "resnet20-a-imagenetnorm-91.73.th"

FILES = [
    ("resnet20-a-imagenetnorm-91.73.th", "resnet20-a", 0.9173, "imagenet"),
    ("resnet20-b-legacy-epoch1-59.46.t7", "resnet20-b", 0.5946, "cifar10"),
    ("resnet56-a-imagenetnorm-93.39.th", "resnet56-a", 0.9339, "imagenet"),
]


def spec_of(name: str) -> str:
    flatness = {"samples": 64, "ascent_steps": 1, "int8": name == IN_INT8}
    return json.dumps({"epochs": 1, "data": {"train_limit": 256}, "flatness": flatness, "precision": "bf16"})


@pytest.mark.realdata
@pytest.mark.timeout(900)
def test_real_checkpoints_come_back_refined_in_the_layout_they_came_in(
    start: Callable[..., Stack], data_dir: Path, real_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    stack = start(data_dir=str(data_dir), threads="2")
    submitted = []
    for name, *_ in FILES:
        response = stack.submit(real_checkpoint(name), spec_of(name))
        assert response.status_code == 202, response.text
        assert response.headers["location"] == f"/jobs/{response.json()['id']}"
        submitted.append(response.json()["id"])
    for id, (name, arch, accuracy, normalization) in zip(submitted, FILES, strict=True):
        job = stack.wait_for(id, "succeeded", seconds=600)
        assert job["baseline"]["test"]["accuracy"] == pytest.approx(accuracy, abs=0.001)
        assert job["baseline"]["test"]["n"] == 10_000
        assert job["baseline"]["normalization"]["name"] == normalization
        receipt = stack.http.get(f"/jobs/{id}/receipt").json()
        assert receipt["checkpoint"]["arch"] == arch
        assert receipt["after"]["sharpness"]["adaptive"]["ascent"] > 0
        if name == IN_INT8:
            assert receipt["before"]["int8"]["accuracy"] == pytest.approx(accuracy, abs=0.01)

        path = tmp_path / name
        path.write_bytes(stack.http.get(f"/jobs/{id}/weights").content)
        refined = torch.load(path, weights_only=True, map_location="cpu")
        uploaded = torch.load(real_checkpoint(name), weights_only=True, map_location="cpu")
        (wrapper,) = [key for key, value in uploaded.items() if isinstance(value, dict)]
        assert set(refined) == {wrapper, "lastsam"}
        assert list(refined[wrapper]) == list(uploaded[wrapper])
        for key, value in uploaded[wrapper].items():
            assert refined[wrapper][key].dtype == value.dtype
            assert refined[wrapper][key].shape == value.shape
        assert type(refined[wrapper]) is type(uploaded[wrapper])
