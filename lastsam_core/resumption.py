"""The one snapshot of a refinement: whose it is, and what to do when it is of no use.

A snapshot that is damaged, or belongs to other images, weights or another recipe, costs time and ends nothing: the run
starts from the checkpoint again and says so. Nor does a disk that takes no snapshot end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastsam_core.errors import SnapshotError
from lastsam_core.snapshot import load_snapshot, save_snapshot

__all__ = ["Identity", "Resumption"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a state belongs to; a state is used where all three are the same."""

    checkpoint_sha256: str
    fingerprint: str
    """Of the dataset."""
    recipe_sha256: str


class Resumption:
    """Keeps states of one run in `path` (nowhere, where it is None) and gives the last one back."""

    def __init__(self, path: Path | None, identity: Identity) -> None:
        self._path, self._identity = path, identity

    @property
    def exists(self) -> bool:
        """Whether there is a file to continue from."""
        return self._path is not None and self._path.exists()

    def save(self, state: dict[str, Any], *, epoch: int, step: int) -> dict[str, Any] | None:
        """Writes the state; returns the report about it, None where none is kept."""
        if self._path is None:
            return None
        try:
            sha256 = save_snapshot(self._path, {"identity": vars(self._identity), **state})
        except OSError as error:
            return {"type": "note", "message": f"A snapshot could not be written: {error.strerror}."}
        return {"type": "snapshot", "path": str(self._path), "sha256": sha256, "epoch": epoch, "step": step}

    def load(self) -> dict[str, Any]:
        """The state that was saved last; SnapshotError where it is damaged or not this run's."""
        assert self._path is not None
        state = load_snapshot(self._path)
        found = state.get("identity")
        if not isinstance(found, dict) or found.keys() != vars(self._identity).keys():
            raise SnapshotError("The snapshot is of another version.")
        said = {
            "checkpoint_sha256": "another checkpoint",
            "fingerprint": "other images",
            "recipe_sha256": "another recipe",
        }
        for name, value in vars(self._identity).items():
            if found[name] != value:
                raise SnapshotError(f"The snapshot was made with {said[name]}.")
        return state
