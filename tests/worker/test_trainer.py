"""The trainer takes from the canonical file what the recipe asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lastsam_core.checkpoints import canonicalise, load_checkpoint, read_checkpoint_file
from lastsam_core.checkpoints.safetensors_file import write_safetensors
from lastsam_core.errors import CheckpointError
from lastsam_core.recipe import Recipe
from tests.factories import SMALL, whole_checkpoint_file, write_tiny_npz
from worker.trainer import _refine


def run(folder: Path, spec: dict[str, Any], *, layout: dict[str, Any] | None = None) -> dict[str, Any]:
    """The receipt of a trainer in this process."""
    folder.mkdir()
    write_tiny_npz(folder / "data", train=40, test=20)
    read = canonicalise(read_checkpoint_file(whole_checkpoint_file(folder / "c.pt")))
    with (folder / "checkpoint.safetensors").open("wb") as file:
        write_safetensors(file, {**read.tensors, **read.extras}, {})
    job = {
        "job_id": "job_1",
        "recipe": Recipe.model_validate({**SMALL, "epochs": 1, **spec}).model_dump(mode="json"),
        "checkpoint": {
            "sha256": "ab" * 32,
            "filename": "c.pt",
            "layout": layout or read.layout.model_dump(mode="json"),
        },
        "data_dir": str(folder / "data"),
        "device": "cpu",
        "threads": None,
        "snapshot_seconds": 60,
        "finish_now": False,
    }
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "out").mkdir()
    _refine(folder, lambda _: None)
    return json.loads((folder / "out" / "receipt.json").read_text())


def test_what_the_recipe_asks_for_is_what_is_refined(tmp_path: Path) -> None:
    lr = {"lr": 0.01}
    plain = run(tmp_path / "plain", {"optimizer": lr})
    warm = run(tmp_path / "warm", {"optimizer": {**lr, "state": "checkpoint"}})
    averaged = run(tmp_path / "averaged", {"optimizer": lr, "model": {"weights": "ema"}})

    assert len({receipt["weights"]["state_sha256"] for receipt in (plain, warm, averaged)}) == 3
    assert plain["before"] == warm["before"] != averaged["before"]
    assert list(torch.load(tmp_path / "plain/out/weights.original", weights_only=True)) == ["state_dict", "lastsam"]
    back = torch.load(tmp_path / "averaged/out/weights.original", weights_only=True)
    assert list(back) == ["state_dict_ema", "lastsam"]


def test_a_row_of_before_there_was_more_than_weights(tmp_path: Path) -> None:
    new = load_checkpoint(whole_checkpoint_file(tmp_path / "c.pt")).layout.model_dump(mode="json")
    old = {k: v for k, v in new.items() if k not in ("counters", "epoch", "optimizer", "ema", "alternatives")}

    assert run(tmp_path / "a", {}, layout=old)["delivered"] == "refined"
    with pytest.raises(CheckpointError, match="no averaged weights"):
        run(tmp_path / "b", {"model": {"weights": "ema"}}, layout=old)
    with pytest.raises(CheckpointError, match="no optimizer's state"):
        run(tmp_path / "c", {"optimizer": {"state": "checkpoint"}}, layout=old)
