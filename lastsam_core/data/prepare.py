"""Makes `NAME.npz` out of what torchvision downloads, or out of the folder that it extracted earlier.

The file appears whole or not at all: it is written beside its place and renamed. Only this module ever uses the
network.
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lastsam_core.errors import CoreError, UnknownDataset

__all__ = ["SOURCES", "ImageSet", "prepare", "write_npz"]

# name -> (class in torchvision.datasets, the folder it extracts to, the archive it downloads)
SOURCES = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz"),
}
SILENCE = 30.0  # seconds without an answer after which a download is given up


class ImageSet(Protocol):
    """What a torchvision dataset of small images holds in memory."""

    data: Any  # uint8 [N, H, W, C]
    targets: Any  # N integers
    classes: Any  # class names


def prepare(name: str, data_dir: Path, download_root: Path | None = None) -> Path:
    """Writes `data_dir`/NAME.npz and returns its path.

    `download_root`: a folder that holds, or shall hold, torchvision's archive and extracted folder; what lies there is
    used, and only what is missing is downloaded (torchvision checks md5 sums either way). None: a temporary one.
    UnknownDataset where nobody knows where the name comes from; CoreError where the download fails.
    """
    if name not in SOURCES:
        raise UnknownDataset(
            f"where to get {name!r} from is not known here; known: {', '.join(SOURCES)}",
            hint=f"Save your own as {data_dir}/{name}.npz: uint8 x_train [N, H, W, C], y_train [N], x_test, y_test.",
        )
    data_dir = Path(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    if download_root is not None:
        return _prepared(name, data_dir, Path(download_root))
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=data_dir) as folder:
        return _prepared(name, data_dir, Path(folder))


def _prepared(name: str, data_dir: Path, root: Path) -> Path:
    import torchvision.datasets

    kind, folder, archive = SOURCES[name]
    source = getattr(torchvision.datasets, kind)
    try:
        with _impatient():
            train = source(root, train=True, download=True)
            test = source(root, train=False, download=False)
    except (OSError, RuntimeError, http.client.HTTPException, EOFError) as why:
        raise CoreError(
            f"{name} could not be downloaded: {why}",
            hint=f"On a machine with a network fetch {source.url} (md5 {source.tgz_md5}), bring it here as "
            f"FOLDER/{archive} (or extracted, as FOLDER/{folder}), and prepare {name} from FOLDER.",
        ) from why
    return write_npz(data_dir / f"{name}.npz", train, test)


@contextmanager
def _impatient() -> Iterator[None]:
    """torchvision sets no timeout; a silent host must not hold a command for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def write_npz(path: Path, train: ImageSet, test: ImageSet) -> Path:
    """Writes both parts as one uncompressed `.npz` (so that it can be mapped), atomically."""
    arrays = {
        "x_train": np.asarray(train.data, dtype=np.uint8),
        "y_train": np.asarray(train.targets, dtype=np.int64),
        "x_test": np.asarray(test.data, dtype=np.uint8),
        "y_test": np.asarray(test.targets, dtype=np.int64),
        "classes": np.asarray(list(train.classes), dtype=np.str_),
    }
    # The suffix is not .npz: a file cut short by a crash must not be listed as a dataset.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
