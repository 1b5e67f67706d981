"""Bootstrapped labels: what the uploaded model says, once, whatever happens to the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lastsam_core import train
from lastsam_core.checkpoints import load_checkpoint
from lastsam_core.data import select_batches, split, train_batches
from lastsam_core.data.noise import noisy_labels
from lastsam_core.data.relabel import bootstrapped, labels_json
from lastsam_core.delivery import Source
from lastsam_core.errors import CoreError
from lastsam_core.recipe import Recipe
from lastsam_core.refinement import Interrupted, Refinement
from tests.core.test_refinement import leave_at_step
from tests.factories import GREY, SMALL, checkpoint_file, tiny_dataset

CPU = torch.device("cpu")
DATASET = tiny_dataset(train=96, test=60, size=8, classes=10)
DATA = SMALL["data"] | {"labels": "bootstrap", "label_noise": 0.5, "normalization": "auto"}


class Knowing(nn.Module):
    """Says of each image of DATASET what class it is, but for every eighth (the next class) and a NaN of the first."""

    def __init__(self) -> None:
        super().__init__()
        pixels = torch.from_numpy(DATASET.x_train).permute(0, 3, 1, 2).flatten(1).float()
        self.register_buffer("known", ((pixels / 255 - 0.5) / 0.25).to(torch.float32))
        said = torch.from_numpy(DATASET.y_train.copy())
        said[::8] = (said[::8] + 1) % 10
        self.register_buffer("said", said)

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        place = torch.cdist(x.flatten(1), self.known).argmin(dim=1)
        logits = nn.functional.one_hot(self.said[place], 10).float()
        return torch.where((place == 0)[:, None], torch.nan, logits)


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate({"data": {"labels": "bootstrap", "label_noise": 0.5} | data, "seed": 2})


def test_labels_are_the_models_predictions_and_the_receipt_counts_them() -> None:
    asked = recipe()
    given = noisy_labels(DATASET.y_train, 0.5, 10, seed=2)
    found = bootstrapped(Knowing().train(), DATASET, asked, GREY, device=CPU)
    expected = DATASET.y_train.copy()
    expected[::8] = (expected[::8] + 1) % 10
    expected[0] = given[0]
    assert found.tolist() == expected.tolist()
    parts = split(asked.data, chooses=False, provenance=None, dataset=DATASET)
    noisy = given != DATASET.y_train
    assert labels_json(DATASET, parts, asked, found) == {
        "kind": "bootstrap",
        "n": 96,
        "noisy": 48,
        "changed": int((expected != given).sum()),
        "repaired": int((noisy & (expected == DATASET.y_train)).sum()),
        "spoiled": int((~noisy & (expected != DATASET.y_train)).sum()),
    }
    batches = train_batches(DATASET, parts, asked, GREY, labels=found)
    assert batches.labels.tolist() == expected.tolist()


def test_given_labels_are_counted_too() -> None:
    asked = recipe(labels="given", train_limit=40)
    parts = split(asked.data, chooses=False, provenance=None, dataset=DATASET)
    found = labels_json(DATASET, parts, asked, None)
    assert (found["kind"], found["n"], found["changed"], found["repaired"], found["spoiled"]) == ("given", 40, 0, 0, 0)
    assert 10 < found["noisy"] < 30


def test_images_go_through_in_blocks_with_a_chance_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrapped(Knowing(), DATASET, recipe(), GREY, device=CPU)
    monkeypatch.setattr("lastsam_core.data.relabel.BLOCK", 36)
    asked: list[int] = []
    again = bootstrapped(Knowing(), DATASET, recipe(), GREY, device=CPU, check=lambda: asked.append(1))
    assert torch.equal(whole, again)
    assert len(asked) == 3


def refined(file: Path, folder: Path, **options: Any) -> dict[str, Any]:
    loaded = load_checkpoint(file)
    source = Source(model=loaded.model, layout=loaded.layout, sha256="ab" * 32, filename=file.name)
    folder.mkdir()
    wanted = Recipe.model_validate(SMALL | {"data": DATA})
    return Refinement(source, wanted, DATASET, device=CPU, out_dir=folder, **options).run()


def test_a_continued_run_has_the_labels_of_the_uploaded_weights(tmp_path: Path) -> None:
    file = checkpoint_file(tmp_path / "model.th")
    whole = refined(file, tmp_path / "whole")
    assert whole["data"]["labels"]["kind"] == "bootstrap"
    assert whole["data"]["labels"]["changed"] > 48  # random weights
    snapshot = tmp_path / "snapshot"
    with pytest.raises(Interrupted):
        refined(file, tmp_path / "a", snapshot=snapshot, wish=leave_at_step(4))
    resumed = refined(file, tmp_path / "b", snapshot=snapshot)
    assert resumed["weights"]["sha256"] == whole["weights"]["sha256"]
    assert resumed["data"]["labels"] == whole["data"]["labels"]


def test_what_has_no_labels_to_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="the checkpoint's own head"):
        Recipe.model_validate({"data": {"labels": "bootstrap"}, "model": {"head": "new"}})
    asked = Recipe.model_validate({"data": {"labels": "bootstrap"}, "model": {"arch": "resnet20-a"}})
    with pytest.raises(CoreError, match="Random weights have no labels"):
        train(asked, data_dir=tmp_path, out=tmp_path / "model.pt")


def test_only_the_images_that_train_are_relabelled() -> None:
    asked = recipe(selection="train_holdout", holdout=0.25)
    parts = split(asked.data, chooses=True, provenance=None, dataset=DATASET)
    found = bootstrapped(Knowing(), DATASET, asked, GREY, device=CPU)
    batches = train_batches(DATASET, parts, asked, GREY, labels=found)
    assert np.array_equal(batches.labels.numpy(), found.numpy()[parts.train_index])
    choosing = select_batches(DATASET, parts, GREY)
    assert choosing is not None
    assert np.array_equal(choosing.labels.numpy(), DATASET.y_train[parts.select_index])
