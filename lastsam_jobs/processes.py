"""Processes that die with their parent, however it dies."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

__all__ = ["die_with_parent", "die_with_parent_hook", "end_group", "kill_group"]

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends; nothing to do where there is no Linux.

    parent: the pid that the parent had; if it is gone already, this process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def die_with_parent_hook(*, block: Iterable[signal.Signals] = ()) -> Callable[[], None]:
    """The same, to be run in a child between fork and exec; the kernel keeps it across the exec.

    block: signals that wait until the child unblocks them, so that none reaches it before it has its handlers.
    """
    parent, blocked = os.getpid(), frozenset(block)

    def hook() -> None:
        die_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    return hook


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own session, with all that it started, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


def end_group(process: subprocess.Popen[bytes], *, seconds: float, sig: int = signal.SIGTERM) -> None:
    """Ask a process to end, and kill its group if it has not after so many seconds."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sig)
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    kill_group(process)
