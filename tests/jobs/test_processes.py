from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from lastsam_jobs.processes import end_group, kill_group

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")

CHILD_OF_ITS_OWN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD_THAT_DIES_WITH_IT = """
import subprocess, sys, time
from lastsam_jobs.processes import die_with_parent_hook
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, preexec_fn=die_with_parent_hook()
)
print(child.pid, flush=True)
time.sleep(60)
"""
IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
OBEYS_TERM = (
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(60)"
)


def _start(code: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    line = process.stdout.readline().decode().strip()
    process.stdout.close()
    return process, line


def _gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":  # dead, and init has not reaped it yet
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@linux
def test_a_child_dies_with_its_parent_even_in_a_session_of_its_own() -> None:
    parent, line = _start(CHILD_THAT_DIES_WITH_IT)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        assert _gone(int(line))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line), signal.SIGKILL)


@linux
def test_a_group_is_killed_with_all_that_it_started() -> None:
    process, line = _start(CHILD_OF_ITS_OWN)
    kill_group(process)
    assert process.returncode == -signal.SIGKILL
    assert _gone(int(line))
    kill_group(process)  # nothing left is no error


def test_who_obeys_ends_in_its_own_way() -> None:
    process, _ = _start(OBEYS_TERM)
    end_group(process, seconds=5)
    assert process.returncode == 7


def test_who_does_not_is_killed_after_its_time() -> None:
    process, _ = _start(IGNORES_TERM)
    started = time.monotonic()
    end_group(process, seconds=0.3)
    assert process.returncode == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - started < 3
