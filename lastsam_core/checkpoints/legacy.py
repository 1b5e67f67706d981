"""torch.save's stream format from before 1.6, written so that equal weights give equal bytes (needs torch).

torch's own writer names each storage by its address in memory; here storages are numbered in the order in which they
come. Otherwise the same stream: magic number, protocol, system, the pickled object, the storages' names, their bytes.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO

import torch
from torch.storage import TypedStorage

__all__ = ["write_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_SYSTEM = {"protocol_version": _PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def write_legacy(value: object, file: BinaryIO) -> None:
    """Writes what torch.save(value, file, _use_new_zipfile_serialization=False) would; tensors on the CPU."""
    storages: list[TypedStorage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, TypedStorage):
                return None
            storages.append(obj)
            kind = getattr(torch, obj._pickle_storage_type())
            return ("storage", kind, str(len(storages) - 1), "cpu", obj._size(), None)

    for head in (_MAGIC, _PROTOCOL, _SYSTEM):
        pickle.dump(head, file, protocol=2)
    Pickler(file, protocol=2).dump(value)
    pickle.dump([str(i) for i in range(len(storages))], file, protocol=2)
    for storage in storages:
        file.write(struct.pack("<q", storage._size()))
        file.write(_bytes(storage))


def _bytes(storage: TypedStorage) -> bytes:
    flat = torch.empty(0, dtype=torch.uint8).set_(storage._untyped_storage)  # pyright: ignore[reportArgumentType]
    return flat.numpy().tobytes()
