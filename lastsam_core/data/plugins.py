"""Datasets that installed packages bring: entry points of the group `lastsam.datasets`, each `data_dir -> Dataset`.

Whoever runs the machine installs them; a job only names one. Nothing of a package is imported before its dataset is
asked for, and a broken one is an error of the job that named it and of nobody else.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from lastsam_core.errors import BadDataset

__all__ = ["GROUP", "made", "origin", "registered"]

GROUP = "lastsam.datasets"


def registered() -> dict[str, EntryPoint]:
    """Name -> entry point, by name; of two with one name the first package in alphabetical order has it."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, origin(entry))):
        found.setdefault(entry.name, entry)
    return found


def origin(entry: EntryPoint) -> str:
    """The package that the entry point came with."""
    return entry.dist.name if entry.dist is not None else entry.value


def made(entry: EntryPoint, data_dir: Path) -> Any:
    """What the package returns; BadDataset, naming it, whatever it raises."""
    try:
        return entry.load()(data_dir)
    except Exception as why:
        raise BadDataset(
            f"the dataset {entry.name!r} of the package {origin(entry)} could not be loaded: "
            f"{type(why).__name__}: {why}",
            hint=f"Repair or uninstall {origin(entry)} ({entry.value}).",
        ) from why
