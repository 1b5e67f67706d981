"""The box: after `lock()` this process can compute, and use the files it has open, and do nothing else for good.

A seccomp filter that allows the system calls CPython needs for that and fails every other one with EPERM: no file can
be opened, no socket made, no process started, no memory made executable. Resource limits are the parent's to set.
See seccomp(2) and linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

__all__ = ["lock"]

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1  # the threads that numpy's BLAS has started are locked in as well
RET_ALLOW = 0x7FFF0000
RET_EPERM = 0x00050000 | errno.EPERM
RET_KILL = 0x80000000
PROT_EXEC = 4

# Reading and writing what is open, memory, time, signals to oneself, locks, randomness, and ending.
CALLS_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20,
    "sched_yield": 24, "mremap": 25, "madvise": 28, "getpid": 39, "exit": 60, "fcntl": 72, "fsync": 74,
    "fdatasync": 75, "ftruncate": 77, "gettimeofday": 96, "sigaltstack": 131, "gettid": 186, "futex": 202,
    "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318,
    "rseq": 334,
}  # fmt: skip
CALLS_AARCH64 = {
    "fcntl": 25, "ftruncate": 46, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "pwrite64": 68, "fstat": 80, "fsync": 82, "fdatasync": 83, "exit": 93, "exit_group": 94,
    "futex": 98, "clock_gettime": 113, "clock_nanosleep": 115, "sched_yield": 124, "restart_syscall": 128,
    "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "gettimeofday": 169,
    "getpid": 172, "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "madvise": 233, "getrandom": 278,
    "rseq": 293,
}  # fmt: skip

# machine -> (AUDIT_ARCH, seccomp(), mmap(), mprotect(), what is allowed)
MACHINES = {
    "x86_64": (0xC000003E, 317, 9, 10, CALLS_X86_64),
    "aarch64": (0xC00000B7, 277, 222, 226, CALLS_AARCH64),
}


def lock() -> bool:
    """Locks this process in, threads included. False, with the reason on stderr, where this system cannot do it."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or struct.calcsize("P") != 8:
        return _cannot(f"no seccomp filter is known for {sys.platform} on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
        return _cannot(f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}")
    instructions = _filter(*machine)
    program = ctypes.create_string_buffer(instructions, len(instructions))
    described = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(program))
    words = map(ctypes.c_long, (machine[1], SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC))
    if libc.syscall(*words, described) != 0:
        return _cannot(f"seccomp: {os.strerror(ctypes.get_errno())}")
    return True


def _cannot(reason: str) -> bool:
    sys.stderr.write(f"The box is open: {reason}.\n")
    return False


def _filter(audit_arch: int, _: int, mmap: int, mprotect: int, allowed: dict[str, int]) -> bytes:
    """The BPF program. struct seccomp_data: nr at 0, arch at 4, args at 16 + 8 i (little-endian)."""
    load, equal, any_set, ret = 0x20, 0x15, 0x45, 0x06

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    program = [
        step(load, 4),
        step(equal, audit_arch, 1, 0),
        step(ret, RET_KILL),
        step(load, 0),
        # mmap and mprotect only without PROT_EXEC, their third argument
        step(equal, mmap, 1, 0),
        step(equal, mprotect, 0, 4),
        step(load, 16 + 8 * 2),
        step(any_set, PROT_EXEC, 0, 1),
        step(ret, RET_EPERM),
        step(ret, RET_ALLOW),
    ]
    for number in allowed.values():
        program += [step(equal, number, 0, 1), step(ret, RET_ALLOW)]
    program.append(step(ret, RET_EPERM))
    return b"".join(program)
