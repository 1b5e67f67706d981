"""Folders of images, `NAME/train/CLASS/*.png` and `NAME/test/CLASS/*` (or `val`): what is in them, without opening one.

Class names are the names of the folders under `train`, in alphabetical order; other files are passed over. No torch and
no image library in here: the API process lists folders too.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from lastsam_core.errors import BadDataset

__all__ = ["ImageFile", "Listing", "counted", "is_folder", "listed"]

SUFFIXES = (".png", ".jpg", ".jpeg")
TESTS = ("test", "val")  # the first that exists


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image, as the folder tells it."""

    path: str
    """Below the dataset's folder, with slashes."""
    label: int
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All images of a folder, by class and name."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]


def is_folder(path: Path) -> bool:
    """Whether this is meant to be a folder of images."""
    return (path / "train").is_dir()


def counted(root: Path) -> tuple[int, int, int]:
    """Images to train on, to test on, and classes; folders that did not change are not counted again.

    BadDataset, saying what is wrong, where the folder cannot be a dataset.
    """
    parts = _parts(root)
    numbers = {}
    for part, folders in parts.items():
        sizes = {name: _count(folder, os.stat(folder).st_mtime_ns) for name, folder in folders.items()}
        _check_filled(root, part, sizes)
        numbers[part] = sum(sizes.values())
    return numbers["train"], numbers["test"], len(parts["train"])


def listed(root: Path) -> Listing:
    """Every image; BadDataset as `counted`."""
    parts = _parts(root)
    classes = tuple(parts["train"])
    found: dict[str, tuple[ImageFile, ...]] = {}
    for part, folders in parts.items():
        images = {name: _images(root, folder, classes.index(name)) for name, folder in folders.items()}
        _check_filled(root, part, {name: len(some) for name, some in images.items()})
        found[part] = tuple(image for some in images.values() for image in some)
    return Listing(root=root, classes=classes, train=found["train"], test=found["test"])


def _parts(root: Path) -> dict[str, dict[str, Path]]:
    """{"train": {class: folder}, "test": {class: folder}}, classes in order."""
    place = next((root / name for name in TESTS if (root / name).is_dir()), None)
    if place is None:
        raise _bad(root, "it has no test images", f"Put them into {root.name}/test/CLASS/ (or val).")
    found = {"train": _classes(root / "train"), "test": _classes(place)}
    if len(found["train"]) < 2:
        raise _bad(root, "it has fewer than two classes", f"One folder a class: {root.name}/train/CLASS/*.png.")
    unknown = sorted(found["test"].keys() - found["train"].keys())
    if unknown:
        raise _bad(root, f"{place.name}/{unknown[0]} is no class of train/", "Give both parts the same class folders.")
    return found


def _classes(folder: Path) -> dict[str, Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return {name: folder / name for name in names}


def _check_filled(root: Path, part: str, sizes: dict[str, int]) -> None:
    empty = [name for name, size in sizes.items() if not size]
    if part == "train" and empty:
        raise _bad(root, f"train/{empty[0]} has no image", "Images are .png, .jpg and .jpeg files.")
    if not any(sizes.values()):
        raise _bad(root, "it has no test images", "Images are .png, .jpg and .jpeg files.")


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


@functools.lru_cache(maxsize=100_000)
def _count(folder: Path, mtime_ns: int) -> int:
    """mtime_ns: changes when a file comes or goes, so that what is remembered holds."""
    with os.scandir(folder) as entries:
        return sum(map(_is_image, entries))


def _images(root: Path, folder: Path, label: int) -> list[ImageFile]:
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat()) for entry in entries if _is_image(entry)]
    below = folder.relative_to(root).as_posix()
    return [
        ImageFile(path=f"{below}/{name}", label=label, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        for name, stat in sorted(found, key=lambda pair: pair[0])
    ]


def _bad(root: Path, wrong: str, hint: str) -> BadDataset:
    return BadDataset(f"the folder {root.name!r} cannot be used: {wrong}", hint=hint)
