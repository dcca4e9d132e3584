"""Spares a process the waiting for the disk: what it writes can be unpacked again.

The engine makes its files durable while it opens them, which for a snapshot that was just unpacked means to write all of
it to the disk and wait. In a child whose files are deleted a moment later, or forgotten with the system's next boot, that
is wasted, and it is a third of the time that a digest takes. So the kernel is asked to answer `fsync` and its kin with success and do nothing, by a filter on
system calls that this process and its children can never take off again. Linux only, on the processors named here;
elsewhere everything stays as it is, and takes longer.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from typing import NamedTuple

__all__ = ["spare_disk_waits"]


class _Numbers(NamedTuple):
    """A processor's `AUDIT_ARCH_...` (linux/audit.h) and its numbers of msync, fsync, fdatasync, sync_file_range."""

    architecture: int
    calls: tuple[int, ...]


_KNOWN = {
    "x86_64": _Numbers(0xC000003E, (26, 74, 75, 277)),  # arch/x86/entry/syscalls/syscall_64.tbl
    "aarch64": _Numbers(0xC00000B7, (227, 82, 83, 84)),  # include/uapi/asm-generic/unistd.h
}

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _ANSWER_ZERO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with no error
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # struct seccomp_data


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _filter(numbers: _Numbers) -> bytes:
    """The steps: anything of another architecture passes, these calls are answered, all others pass."""
    count = len(numbers.calls)
    return b"".join(
        [
            _step(_LOAD, _ARCHITECTURE_AT),
            _step(_JUMP_IF_EQUAL, numbers.architecture, if_false=count + 1),
            _step(_LOAD, _NUMBER_AT),
            *(_step(_JUMP_IF_EQUAL, call, if_true=count - at) for at, call in enumerate(numbers.calls)),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _ANSWER_ZERO),
        ]
    )


def spare_disk_waits() -> bool:
    """From now on nothing this process writes is made durable by it, whatever it asks for; call it before threads begin.

    Returns:
        Whether that is so; where the kernel refuses, the process only waits as before.
    """
    numbers = _KNOWN.get(platform.machine()) if sys.platform == "linux" else None
    if numbers is None:
        return False
    steps = _filter(numbers)
    program = _Program(len(steps) // len(_step(0, 0)), steps)
    prctl = ctypes.CDLL(None).prctl
    none = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none):
        return False
    return not prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program), none, none)
