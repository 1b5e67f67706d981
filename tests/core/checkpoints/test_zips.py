from __future__ import annotations

import io
import zipfile

import pytest
import torch

from lastsam_core.checkpoints.zips import zip_members
from lastsam_core.errors import CheckpointError
from tests.core.checkpoints.files import saved

CONTENTS = {"m/a": b"first", "m/b": b"", "m/c": bytes(range(256)) * 10, "m/é": b"name that is not ASCII"}


def archive(contents: dict[str, bytes], *, force_zip64: bool = False) -> memoryview:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name, body in contents.items():
            with written.open(name, "w", force_zip64=force_zip64) as member:
                member.write(body)
    return memoryview(buffer.getvalue())


def read(data: memoryview) -> dict[str, bytes]:
    return {name: bytes(body) for name, body in zip_members(data).items()}


@pytest.mark.parametrize("force_zip64", [False, True])
def test_it_reads_what_zipfile_writes(force_zip64: bool) -> None:
    assert read(archive(CONTENTS, force_zip64=force_zip64)) == CONTENTS


def test_the_64_bit_directory_of_files_over_4_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    data = archive(CONTENTS, force_zip64=True)

    assert b"PK\x06\x06" in data.tobytes()
    assert read(data) == CONTENTS


def test_it_reads_what_torch_writes() -> None:
    data = saved({"w": torch.arange(100.0)})

    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        assert read(memoryview(data)) == {name: theirs.read(name) for name in theirs.namelist()}


def test_an_archive_of_nothing() -> None:
    with pytest.raises(CheckpointError):
        zip_members(archive({}))
