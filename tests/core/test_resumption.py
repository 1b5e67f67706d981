"""A snapshot is used by the run that it belongs to, and by no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lastsam_core.errors import SnapshotError
from lastsam_core.resumption import Identity, Resumption
from lastsam_core.snapshot import save_snapshot

OWN = Identity(checkpoint_sha256="c", fingerprint="f", recipe_sha256="r")


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    kept = Resumption(tmp_path / "snapshot", OWN)
    assert not kept.exists
    said = kept.save({"w": torch.arange(3)}, epoch=2, step=5)
    assert said is not None
    assert {"type": "snapshot", "epoch": 2, "step": 5}.items() <= said.items()
    assert kept.exists
    assert torch.equal(kept.load()["w"], torch.arange(3))


@pytest.mark.parametrize(
    ("name", "words"),
    [("checkpoint_sha256", "another checkpoint"), ("fingerprint", "other images"), ("recipe_sha256", "another recipe")],
)
def test_another_runs_state_is_refused(name: str, words: str, tmp_path: Path) -> None:
    Resumption(tmp_path / "snapshot", OWN).save({}, epoch=0, step=0)
    with pytest.raises(SnapshotError, match=words):
        Resumption(tmp_path / "snapshot", replace(OWN, **{name: "x"})).load()


@pytest.mark.parametrize("state", [{}, {"identity": "c"}, {"identity": {"checkpoint_sha256": "c"}}])
def test_a_state_of_another_version_is_refused(state: dict[str, Any], tmp_path: Path) -> None:
    save_snapshot(tmp_path / "snapshot", state)
    with pytest.raises(SnapshotError, match="another version"):
        Resumption(tmp_path / "snapshot", OWN).load()


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    said = Resumption(tmp_path / "missing" / "snapshot", OWN).save({}, epoch=0, step=0)
    assert said is not None
    assert said["type"] == "note"
    assert "could not be written" in said["message"]


def test_nowhere_keeps_nothing() -> None:
    kept = Resumption(None, OWN)
    assert kept.save({}, epoch=0, step=0) is None
    assert not kept.exists
