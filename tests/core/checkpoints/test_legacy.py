"""The old stream format: torch reads it, and equal weights give equal bytes in any process."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

from lastsam_core.checkpoints.legacy import write_legacy

SCRIPT = """
import hashlib, io, torch
padding = [torch.empty(n) for n in range({n})]
from lastsam_core.checkpoints.legacy import write_legacy
file = io.BytesIO()
write_legacy({{"net": {{"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}}}}, file)
print(hashlib.sha256(file.getvalue()).hexdigest())
"""


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64], ids=lambda d: str(d)[6:]
)
def test_torch_reads_it_bit_for_bit(dtype: torch.dtype) -> None:
    value = OrderedDict(a=torch.arange(12).reshape(3, 4).to(dtype), b=torch.tensor(7).to(dtype), c=torch.empty(0, 2))
    file = io.BytesIO()
    write_legacy({"net": value, "lastsam": {"x": "y"}}, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    assert read["lastsam"] == {"x": "y"}
    assert type(read["net"]) is OrderedDict
    for name, tensor in value.items():
        assert read["net"][name].dtype == tensor.dtype
        assert torch.equal(read["net"][name], tensor)


def test_it_is_what_torch_writes_but_for_the_names_of_storages() -> None:
    value = {"w": torch.arange(6.0)}
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_legacy(value, ours)
    torch.save(value, theirs, _use_new_zipfile_serialization=False)
    tail = value["w"].numpy().tobytes()
    assert ours.getvalue().endswith(tail)
    assert theirs.getvalue().endswith(tail)
    assert ours.getvalue()[:30] == theirs.getvalue()[:30]


def test_equal_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(n=n)], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for n in (0, 7)
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())
