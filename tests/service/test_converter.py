"""The box: what comes out of it, and what becomes of children that misbehave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lastsam_jobs.errors import StorageFull
from lastsam_jobs.settings import Settings
from service import converter
from service.converter import convert
from service.problems import CheckpointRefused

# A child that does whatever its --arch says; it stands where the real reader stands, in the real box.
CHILD = """
import json, os, signal, sys, time
what, source, weights, report = sys.argv[2], *sys.argv[-3:]
if what == "spin":
    while True: pass
if what == "hog":
    kept = []
    while True: kept.append(bytearray(2**24))
if what == "fill":
    with open(weights, "wb") as file:
        while True: file.write(bytes(2**20))
if what == "abort":
    signal.signal(signal.SIGABRT, signal.SIG_DFL); os.abort()
if what == "full":
    sys.exit("OSError: [Errno 28] No space left on device")
if what == "babble":
    open(report, "w").write("{" * 100_000)
if what == "silent":
    sys.exit(0)
if what == "sleep":
    time.sleep(600)
if what == "environment":
    import resource
    names = ("CORE", "AS", "CPU", "FSIZE", "NOFILE")
    limits = {n: resource.getrlimit(getattr(resource, "RLIMIT_" + n))[1] for n in names}
    told = {"env": dict(os.environ), "cwd": os.listdir(), "limits": limits, "session": os.getsid(0) == os.getpid()}
    json.dump({"ok": False, "code": "told", "message": json.dumps(told), "hint": "h", "boxed": True}, open(report, "w"))
    sys.exit(2)
"""


@pytest.fixture
def settings(settings_factory: Callable[..., Settings]) -> Settings:
    return settings_factory(convert_seconds=1)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "misbehaving.py").write_text(CHILD)
    monkeypatch.setattr(converter, "_ROOT", tmp_path / "package")
    monkeypatch.setattr(converter, "_MODULE", "misbehaving")


def read(settings: Settings, folder: Path, content: bytes, *, arch: str = "auto") -> str:
    """What the converter finds; afterwards its folder is gone."""
    source = folder / "upload"
    source.write_bytes(content)
    assert settings.work_dir is not None
    try:
        with convert(settings, source, arch=arch, num_classes=None) as converted:
            assert converted.path.stat().st_size > 0
            return converted.layout.arch
    finally:
        assert list(settings.work_dir.iterdir()) == []


def test_a_good_file_is_read(settings_factory: Callable[..., Settings], tmp_path: Path, net: bytes) -> None:
    assert read(settings_factory(), tmp_path, net) == "resnet20-a"


def test_a_refusal_carries_code_message_and_hint(settings_factory: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused) as refused:
        read(settings_factory(), tmp_path, b"text")
    assert refused.value.extra["code"] == "not_a_checkpoint"
    assert refused.value.hint


@pytest.mark.usefixtures("child")
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("spin", "more than 1 s"),
        ("hog", "more memory than 1024 MiB"),
        ("fill", "far more room"),
        ("abort", "broke down"),
        ("babble", "broke down"),
        ("silent", "broke down"),
    ],
)
def test_a_child_that_misbehaves_is_a_refusal(settings: Settings, tmp_path: Path, what: str, says: str) -> None:
    if what != "spin":  # the others must meet their own limit first, however slow the machine is
        settings = settings.model_copy(update={"convert_seconds": 30.0})
    with pytest.raises(CheckpointRefused) as refused:
        read(settings, tmp_path, b"x", arch=what)
    assert says in refused.value.message
    assert "state_dict" in (refused.value.hint or "")


@pytest.mark.usefixtures("child")
def test_a_full_disk_is_not_the_files_fault(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        read(settings, tmp_path, b"x", arch="full")


@pytest.mark.usefixtures("child")
def test_a_child_that_sleeps_is_ended(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = converter._run
    monkeypatch.setattr(converter, "_run", lambda *args, wall_seconds: ran(*args, wall_seconds=0.5))
    begun = time.monotonic()
    with pytest.raises(CheckpointRefused, match="took more than"):
        read(settings, tmp_path, b"x", arch="sleep")
    assert time.monotonic() - begun < 20


@pytest.mark.usefixtures("child")
def test_the_child_knows_nothing_and_may_little(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTSAM_DATABASE_URL", "postgresql://secret")
    with pytest.raises(CheckpointRefused) as refused:
        read(settings, tmp_path, b"x" * 100, arch="environment")
    told = json.loads(refused.value.message)
    assert told["env"].keys() <= {
        "PATH", "LANG", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"
    }  # fmt: skip
    assert told["limits"] == {"CORE": 0, "AS": 2**30 + 400, "CPU": 2, "FSIZE": 2**24 + 200, "NOFILE": 64}
    assert told["session"]
