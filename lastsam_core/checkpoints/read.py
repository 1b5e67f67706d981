"""A checkpoint file, read without torch: its tensors as bytes, and everything needed to write it back the same way."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from lastsam_core.checkpoints.containers import Container, open_container
from lastsam_core.checkpoints.locate import Kind, locate
from lastsam_core.checkpoints.tensors import RawTensor, materialise
from lastsam_core.errors import CheckpointError, NotACheckpoint

__all__ = ["RawCheckpoint", "map_file", "read_checkpoint", "read_checkpoint_file"]


@dataclass(frozen=True, kw_only=True)
class RawCheckpoint:
    """What a file holds, under the file's own names."""

    container: Container
    """How the file is built."""
    wrapper: tuple[str, ...]
    """The keys that lead to the state dict; empty for a bare one."""
    kinds: tuple[Kind, ...]
    """What each wrapping dictionary was, and last the state dict itself."""
    tensors: dict[str, RawTensor]
    """Key -> tensor, in the file's order."""
    companions: tuple[str, ...]
    """Names of what else the file holds: optimizer, epoch, ..."""
    holdout_id: str | None = None
    """Which training images were kept from these weights, where the file says so."""


def read_checkpoint_file(path: Path | str) -> RawCheckpoint:
    """The file's state dict; a CheckpointError with a hint where it cannot or must not be read."""
    try:
        with open(path, "rb") as file:
            data = map_file(file.fileno())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}.", hint="Check the path.") from error
    return read_checkpoint(data)


def map_file(descriptor: int) -> memoryview:
    """The open file's bytes, mapped and not copied; NotACheckpoint where there are none."""
    try:
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise NotACheckpoint("The file is empty.", hint="Check that it was saved and copied whole.") from None


def read_checkpoint(data: memoryview) -> RawCheckpoint:
    """The state dict among the bytes of a whole file; errors as in read_checkpoint_file."""
    opened = open_container(data)
    located = locate(opened.value)
    return RawCheckpoint(
        container=opened.container,
        wrapper=located.wrapper,
        kinds=located.kinds,
        tensors=materialise(located.tensors, opened.storages),
        companions=located.companions,
        holdout_id=located.holdout_id,
    )
