"""A run that was killed, or lost its machine: the next one says so when it takes over the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.operations.events import Warned

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.lock import DirectoryLock

__all__ = ["tell_of_dead_run"]


def tell_of_dead_run(ports: Ports, lock: DirectoryLock) -> None:
    """Warn when the lock's last holder never gave it back; nothing after an orderly end."""
    if lock.taken_over is not None:
        ports.tell(Warned(f"an earlier run did not end in order: {lock.taken_over}. What it left is cleared away now"))
