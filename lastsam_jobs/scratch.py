"""Private folders that outlive no process for long: whoever is killed leaves one, and whoever comes next removes it.

Its maker holds a lock on the folder (flock(2)), which the kernel drops however the maker ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scratch", "sweep"]


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh folder in `parent` whose name begins with `prefix`, gone when the block ends; `parent` is made."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A sweep may have come between making it and locking it.
        if folder.exists():
            break
        os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path, prefix: str) -> int:
    """Remove the folders of that prefix that nobody holds any more; how many there were."""
    removed = 0
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed
