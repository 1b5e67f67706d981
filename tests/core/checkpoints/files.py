"""Checkpoint files for tests, made with the torch that is installed."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from lastsam_core.models import create_model
from tests.core.models.randomise import randomise


def weights(
    name: str = "resnet20-a", *, num_classes: int = 10, prefix: str = "", seed: int = 0
) -> OrderedDict[str, Tensor]:
    """A state dict of random weights."""
    state = randomise(create_model(name, num_classes=num_classes), seed).state_dict()
    return OrderedDict((prefix + key, value.clone()) for key, value in state.items())


def saved(value: object, container: str = "zip") -> bytes:
    """The bytes of the file."""
    if container == "safetensors":
        assert isinstance(value, dict)
        return safetensors_bytes(dict(value))
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=container == "zip")
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def with_pickle(data: bytes, pickled: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """torch's ZIP with another data.pkl."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def legacy_with_pickle(pickled: bytes) -> bytes:
    """torch's older stream around a pickle, without storages."""
    system: dict[str, Any] = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = (0x1950A86A20F9469CFC6C, 1001, system)
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + pickled + pickle.dumps([], protocol=2)
