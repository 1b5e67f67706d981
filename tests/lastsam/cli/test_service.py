"""`lastsam up` and `lastsam doctor` as commands; what they do is tested with lastsam.up and lastsam.doctor."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lastsam import Client
from tests.lastsam.conftest import Cli


def test_up_binds_what_it_is_told_and_ends_on_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTSAM_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-m", "lastsam.cli", "up", "--host", "127.0.0.1", "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        ready = re.search(r"http://127\.0\.0\.1:\d+", child.stdout.readline())
        assert ready
        with Client(ready.group()) as client:
            assert client.ready()["status"] == "ok"
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.stdout.close()


def test_up_refuses_what_is_unsafe(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTSAM_REQUIRE_KEYS", "false")
    monkeypatch.setenv("LASTSAM_HOST", "127.0.0.1")  # the command sets it, and the test's end takes it back
    status, out, err = cli("up", "--host", "0.0.0.0")
    assert (status, out) == (2, "")
    assert "lastsam keys create" in err


def test_doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LASTSAM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LASTSAM_HOME", str(tmp_path / "home"))
    status, out, _ = cli("doctor")
    assert status == 0
    assert "ok   python: " in out
    assert "-> lastsam up" in out
    monkeypatch.setenv("LASTSAM_DEVICE", "cuda:99")
    status, out, _ = cli("doctor", "--json")
    assert status == 1
    assert [check["what"] for check in json.loads(out) if check["verdict"] == "fail"] == ["device"]
