"""Files that nobody may open: the kernel itself tells whether somebody did, whichever process it was."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["Canaries", "canaries"]

_OPENED, _CHANGED = 0x20, 0x2 | 0x4
_EVENT = struct.Struct("iIII")


class Canaries:
    """Watched files (inotify, so Linux alone)."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        self._paths: dict[int, Path] = {}

    def watch(self, path: Path) -> Path:
        """Watch a file that is there already, from now on."""
        number = self._library.inotify_add_watch(self._descriptor, os.fsencode(path), _OPENED | _CHANGED)
        assert number >= 0, os.strerror(ctypes.get_errno())
        self._paths[number] = path
        return path

    def touched(self) -> list[str]:
        """The files that somebody opened or changed, since they were watched or since this was asked last."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, 1 << 16)
        found: list[str] = []
        at = 0
        while at < len(data):
            number, _, _, name_bytes = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_bytes
            found.append(str(self._paths[number]))
        return sorted(set(found))

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    """For a test module that imports this name."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs inotify")
    watched = Canaries()
    yield watched
    watched.close()
