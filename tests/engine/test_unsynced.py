"""A process that throws away what it writes does not wait for the disk, and nobody else is concerned."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.engine import unsynced

if TYPE_CHECKING:
    from pathlib import Path

# A descriptor that is not open makes each of these fail, unless nobody looks at it.
CODE = """
import ctypes, mmap, os, sys
sys.path[:0] = sys.argv[1:]
from qdrant_backup.engine.unsynced import spare_disk_waits

def fails(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0

calls = (lambda: os.fsync(999), lambda: os.fdatasync(999))
before = [fails(call) for call in calls]
assert spare_disk_waits()
after = [fails(call) for call in calls]
pid = os.fork()
if not pid:
    os._exit(any(fails(call) for call in calls))
below = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
libc = ctypes.CDLL(None, use_errno=True)
unmapped = libc.msync(ctypes.c_void_p(1 << 30), 4096, 4)
with open("file", "w+b") as file:
    file.write(b"kept")
    file.flush()
    os.fsync(file.fileno())
print(before, after, below, unmapped, open("file").read(), fails(lambda: os.close(999)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's filters on system calls")
def test_syncing_answers_at_once_here_and_below_and_all_else_goes_on(tmp_path: Path) -> None:
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *paths], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[9, 9] [0, 0] 0 0 kept 9\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(999)


def test_a_processor_that_is_not_known_waits_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsynced.platform, "machine", lambda: "riscv64")
    assert not unsynced.spare_disk_waits()
