"""Runs a module under resource limits that are set before anything of it is imported.

`python -I box_child.py ROOT AS CPU FSIZE NOFILE MODULE ARGUMENT...`: converter.py starts it by path, so that the
limits need no code between fork and exec, and the package is found (under ROOT) although -I ignores PYTHONPATH.
Limits: AS and FSIZE bytes, CPU seconds, NOFILE descriptors; see setrlimit(2). Imports nothing of this project itself.
"""

from __future__ import annotations

import ctypes
import resource
import runpy
import signal
import sys

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Set the limits for good, then become the module."""
    root, memory, cpu, file_size, files, module, *rest = arguments
    if sys.platform == "linux":
        # A service that is killed takes its converters along; otherwise the CPU limit ends them.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_FSIZE, int(file_size)),
        (resource.RLIMIT_NOFILE, int(files)),
    ):
        resource.setrlimit(limit, (value, value))
    # Soft below hard: SIGXCPU, which the parent can tell from any other SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))
    sys.path.insert(0, root)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
