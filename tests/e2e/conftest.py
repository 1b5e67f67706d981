"""The real thing as its users start it: `lastsam up` as a process, HTTP, Celery, Valkey, a trainer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.factories import write_tiny_npz

COMMAND = [sys.executable, "-m", "lastsam.cli"]


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Nothing of the caller's settings; caches and PATH stay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LASTSAM_")}
    chosen = {"home": str(home), "threads": "1", "snapshot_seconds": "0.5"} | settings
    return kept | {f"LASTSAM_{name.upper()}": value for name, value in chosen.items()}


class Stack:
    """A running `lastsam up`."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self._log = (home / "up.log").open("ab+")
        self._log_start = self._log.seek(0, 2)
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, "up", "--port", "0"],
            env=environment(home, **settings),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self.url = self._wait_for_url()
        self.seconds_to_ready = time.monotonic() - began
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = (self.home / "up.log").read_bytes()[self._log_start :].decode()
            if found := re.search(r"ready at (http://\S+)", text):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"`lastsam up` is not ready:\n{(self.home / 'up.log').read_text()}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in (self.home / "logs").glob("*.log"))

    def tree(self) -> list[psutil.Process]:
        """This process and everything below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def find(self, *words: str) -> psutil.Process:
        """The first process of the tree with all these words in its command line."""
        for process in self.tree():
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
        raise AssertionError(f"no process of the tree has {words} in its command line")

    def submit(self, checkpoint: Path, spec: str) -> httpx.Response:
        with checkpoint.open("rb") as file:
            return self.http.post("/jobs", files={"checkpoint": file}, data={"spec": spec})

    def job(self, id: str) -> dict[str, Any]:
        return self.http.get(f"/jobs/{id}").raise_for_status().json()

    def wait(self, id: str, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 240) -> dict[str, Any]:
        """The job once the condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(id)
            if condition(job):
                return job
            if time.monotonic() > deadline:
                events = self.http.get(f"/jobs/{id}/events").json()
                raise AssertionError(f"after {seconds} s: {job}\n{events}\n{self.logs()}")
            time.sleep(0.1)

    def wait_for(self, id: str, status: str, **options: Any) -> dict[str, Any]:
        """The job once it has this status; fails as soon as it has another final one."""
        ended = {"succeeded", "failed", "cancelled"}
        job = self.wait(id, lambda job: job["status"] == status or job["status"] in ended, **options)
        assert job["status"] == status, f"{job['error']}\n{self.logs()}"
        return job

    def end(self, sig: int = signal.SIGINT) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(sig)
        status = self.process.wait(timeout=60)
        self.http.close()
        self._log.close()
        return status


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, as most homes have, with the tiny dataset in it."""
    folder = Path(tempfile.mkdtemp(prefix="ls-"))
    write_tiny_npz(folder / "data", train=800)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Stack]]:
    """`start(setting=...)` starts the stack on `home`; it is ended after the test."""
    started: list[Stack] = []

    def begin(**settings: str) -> Stack:
        stack = Stack(home, **settings)
        started.append(stack)
        return stack

    yield begin
    for stack in started:
        if stack.process.poll() is None:
            stack.end(signal.SIGTERM)
