"""A dataset: uint8 images, integer labels, a training and a test part, and a fingerprint of what they are.

Arrays of an uncompressed `.npz` are mapped, not read: a job that trains copies the images to its device anyway, and a
job that only evaluates never touches the training part. No torch in here, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastsam_core.data.catalogue import MEMBERS, UNREADABLE, Header, available, check_headers, headers, is_name
from lastsam_core.data.digits import digits
from lastsam_core.errors import BadDataset, UnknownDataset

__all__ = ["Dataset", "load_dataset"]

MAX_CLASSES = 100_000
LOCAL_HEADER = 30  # bytes of a zip entry's fixed header; name and extra field follow (APPNOTE 4.3.7)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images and labels; the arrays may be read-only maps of a file."""

    name: str
    x_train: NDArray[np.uint8]  # [N, H, W, C]
    y_train: NDArray[np.int64]  # [N], 0 to len(classes) - 1
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of all shapes, pixels and labels: the same for the same data, however it was stored."""
        digest = hashlib.sha256(b"lastsam dataset 1")
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.x_train.shape[3]


def load_dataset(name: str, data_dir: Path) -> Dataset:
    """The dataset of that name: `data_dir`/NAME.npz, or the built-in "digits".

    UnknownDataset where there is none, with those at hand; BadDataset where the file does not hold what it must.
    """
    if name == "digits":
        x_train, y_train, x_test, y_test = digits()
        return Dataset(
            name=name,
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            classes=tuple("0123456789"),
        )
    path = Path(data_dir) / f"{name}.npz"
    if not is_name(name) or not path.is_file():
        at_hand = ", ".join(row.name for row in available(data_dir) if row.prepared)
        raise UnknownDataset(
            f"there is no dataset {name!r} on this machine; at hand: {at_hand}",
            hint=f"Run `lastsam data prepare {name}` there, or put {name}.npz in its LASTSAM_DATA_DIR.",
        )
    found = headers(path)
    check_headers(name, found)
    wanted = [*MEMBERS, "classes"] if "classes" in found else [*MEMBERS]
    arrays = {key: _array(path, found[key]) for key in wanted}
    labels = {key: arrays[key].astype(np.int64) for key in ("y_train", "y_test")}
    return Dataset(
        name=name,
        x_train=arrays["x_train"],
        y_train=labels["y_train"],
        x_test=arrays["x_test"],
        y_test=labels["y_test"],
        classes=_classes(name, labels, arrays.get("classes")),
    )


def _array(path: Path, header: Header) -> NDArray[Any]:
    member = header.member
    stored = member.compress_type == zipfile.ZIP_STORED
    try:
        if stored and header.dtype == np.uint8 and len(header.shape) == 4 and not header.fortran:
            with path.open("rb") as stream:
                stream.seek(member.header_offset)
                local = stream.read(LOCAL_HEADER)
            # The local header has lengths of its own: the central directory's extra field may differ.
            start = member.header_offset + LOCAL_HEADER + int.from_bytes(local[26:28], "little")
            start += int.from_bytes(local[28:30], "little") + header.data_start
            return np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=header.shape)
        with np.load(path, allow_pickle=False) as archive:
            return archive[member.filename[:-4]]
    except UNREADABLE as why:
        raise BadDataset(
            f"{path.name}: {member.filename} is damaged: {why}",
            hint=f"Write the file again; for a known dataset, `lastsam data prepare {path.stem}`.",
        ) from why


def _classes(name: str, labels: dict[str, NDArray[np.int64]], names: NDArray[Any] | None) -> tuple[str, ...]:
    highest = max(int(y.max()) for y in labels.values())
    if min(int(y.min()) for y in labels.values()) < 0:
        raise BadDataset(f"dataset {name!r} has negative labels", hint="Labels count from 0.")
    if highest < 1:
        raise BadDataset(f"dataset {name!r} has a single class", hint="Nothing can be learned from one class.")
    if highest >= MAX_CLASSES:
        raise BadDataset(
            f"dataset {name!r} has a label {highest}; at most {MAX_CLASSES} classes are allowed",
            hint="Labels count from 0 without gaps.",
        )
    if names is None:
        return tuple(str(k) for k in range(highest + 1))
    if highest >= len(names):
        raise BadDataset(
            f"dataset {name!r} has a label {highest} but names only {len(names)} classes",
            hint="Labels count from 0 and index `classes`.",
        )
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in names.tolist())
