"""Training from scratch gives a checkpoint that a refinement takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lastsam_core.errors import CoreError
from lastsam_core.recipe import Recipe
from lastsam_core.refining import refine
from lastsam_core.training import train
from tests.factories import SMALL, TINY, write_tiny_npz

SPEC = SMALL | {"model": {"arch": "resnet20-b"}, "method": {"name": "sgd"}, "optimizer": {"lr": 0.05}}


def test_train_then_refine(tmp_path: Path) -> None:
    write_tiny_npz(tmp_path / "data")
    out = tmp_path / "model.pt"
    result = train(Recipe.model_validate(SPEC), data_dir=tmp_path / "data", out=out)
    assert result["test"]["n"] == 100
    assert set(torch.load(out, weights_only=True)) == {"state_dict", "lastsam"}
    receipt = refine(
        out, Recipe.model_validate(SMALL), data_dir=tmp_path / "data", out_dir=tmp_path / "out", report=lambda _: None
    )
    assert receipt["checkpoint"]["arch"] == "resnet20-b"
    assert receipt["before"]["test"]["accuracy"] == result["test"]["accuracy"]
    assert (tmp_path / "out" / "weights.original").exists()


def test_an_architecture_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CoreError, match="needs an architecture"):
        train(Recipe(), data_dir=tmp_path, out=tmp_path / "x.pt")


def test_what_was_held_out_may_choose_later(tmp_path: Path) -> None:
    write_tiny_npz(tmp_path / "data")
    held_out = {"data": TINY | {"train_limit": 96, "selection": "train_holdout", "holdout": 0.2}}
    trained = train(Recipe.model_validate(SPEC | held_out), data_dir=tmp_path / "data", out=tmp_path / "model.pt")
    assert trained["holdout_id"]
    choosing = {"deliver": {"which": "best"}, "data": TINY | {"train_limit": 96, "holdout": 0.2}}
    receipt = refine(
        tmp_path / "model.pt",
        Recipe.model_validate(SMALL | choosing),
        data_dir=tmp_path / "data",
        out_dir=tmp_path / "out",
    )
    chosen = receipt["data"]["selection"]
    assert (chosen["kind"], chosen["n"], chosen["clean"]) == ("train_holdout", 40, True)
    assert receipt["data"]["report"]["n"] == 100
    note = torch.load(tmp_path / "out" / "weights.original", weights_only=True)["lastsam"]
    assert note["holdout_id"] == trained["holdout_id"]
