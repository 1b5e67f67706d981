from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="seccomp is Linux's"
)

PRELUDE = """
import ctypes, mmap, os, signal, socket, subprocess, sys, threading
import numpy
from lastsam_core.checkpoints.box import lock
note = open(sys.argv[1], "r+")
assert lock()
def refused(function, *arguments):
    try:
        function(*arguments)
    except PermissionError:
        return
    raise SystemExit(f"{function} was allowed")
"""


def boxed(code: str, tmp_path: Path) -> str:
    note = tmp_path / "note"
    note.write_text("what was open")
    ran = subprocess.run([sys.executable, "-c", PRELUDE + code, str(note)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return note.read_text()


@pytest.mark.parametrize(
    "attempt",
    [
        "open, '/etc/passwd'",
        "open, sys.argv[1], 'w'",
        "os.listdir, '/'",
        "os.stat, '/'",
        "socket.socket",
        "socket.socket, socket.AF_UNIX",
        "os.fork",
        "os.execv, '/bin/true', ['true']",
        "subprocess.run, ['/bin/true']",
        "os.posix_spawn, '/bin/true', ['true'], {}",
        "os.unlink, sys.argv[1]",
        "os.rename, sys.argv[1], '/tmp/elsewhere'",
        "os.mkdir, '/tmp/elsewhere'",
        "os.chmod, sys.argv[1], 0",
        "os.link, sys.argv[1], '/tmp/elsewhere'",
        "os.kill, os.getppid(), 0",
        "os.memfd_create, 'name'",
        "os.setuid, 0",
        "mmap.mmap, -1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_EXEC",
    ],
)
def test_what_is_forbidden(attempt: str, tmp_path: Path) -> None:
    assert boxed(f"refused({attempt})", tmp_path) == "what was open"


def test_no_thread_starts(tmp_path: Path) -> None:
    boxed(
        "try:\n    threading.Thread(target=print).start()\nexcept RuntimeError:\n    sys.exit(0)\nsys.exit('started')",
        tmp_path,
    )


def test_open_files_memory_and_arithmetic_still_work(tmp_path: Path) -> None:
    code = """
assert note.read() == "what was open"
big = numpy.arange(90_000.0).reshape(300, 300)
assert numpy.isfinite(big @ big).all()
blocks = [bytearray(1 << 20) for _ in range(64)]
note.write(", and more")
note.flush()
os.fsync(note.fileno())
"""
    assert boxed(code, tmp_path) == "what was open, and more"


def test_the_other_architectures_calls_are_refused_too(tmp_path: Path) -> None:
    """x86_64 kernels also answer to x32 numbers (bit 30): the list must not be a way around itself."""
    code = """
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(ctypes.c_long(0x40000000 + 2), b"/etc/passwd", 0) == -1 and ctypes.get_errno() == 1
assert libc.syscall(ctypes.c_long(425), 1, None) == -1 and ctypes.get_errno() == 1  # io_uring_setup
"""
    boxed(code, tmp_path)


def test_threads_that_were_there_before_are_locked_in(tmp_path: Path) -> None:
    code = """
import threading
from lastsam_core.checkpoints.box import lock
go, answers = threading.Event(), []
def work():
    go.wait()
    try:
        open("/etc/passwd")
    except PermissionError:
        answers.append("refused")
thread = threading.Thread(target=work)
thread.start()
assert lock()
go.set()
thread.join()
assert answers == ["refused"], answers
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
