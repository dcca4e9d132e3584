"""SHA-256 of what passes, computed beside the work on it: a second thread hashes a block while it is written or unpacked."""

from __future__ import annotations

import hashlib
import queue
import threading

from qdrant_backup.model import Checksum
from qdrant_backup.threads import start

__all__ = ["HashBeside"]

_LARGE_BYTES = 64 << 10
"""Smaller blocks are hashed at once: handing one over takes as long as hashing so many bytes."""

_MOST_QUEUED = 4


class HashBeside:
    """A SHA-256 that takes large blocks in a thread of its own, in order. For one thread; `close` ends the other.

    At most four blocks wait, so a writer is never further ahead than that.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_MOST_QUEUED)
        self._thread: threading.Thread | None = None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes. Only `bytes` go to the other thread: what its owner may change afterwards is hashed at once."""
        if isinstance(data, bytes) and len(data) >= _LARGE_BYTES and self._begun():
            self._blocks.put(data)
            return
        self._blocks.join()
        self._hash.update(data)

    def _begun(self) -> bool:
        """Whether the other thread runs; False where a limit on memory or on processes allows none."""
        if self._thread is None:
            thread = threading.Thread(target=self._take, name="sha256", daemon=True)
            try:
                start(thread)
            except OSError:
                return False
            self._thread = thread
        return True

    def checksum(self) -> Checksum:
        """The SHA-256 of all bytes taken so far."""
        self._blocks.join()
        return Checksum(self._hash.hexdigest())

    def close(self) -> None:
        """End the thread, if there is one; `checksum` still answers."""
        if self._thread is not None:
            self._blocks.put(None)
            self._thread = None

    def _take(self) -> None:
        # hashlib lets other threads run meanwhile.
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)
            self._blocks.task_done()
        self._blocks.task_done()
