"""Remembers in the catalogue how far a backup has been proven, so that `list` and `status` can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.storage.catalogue import CatalogueFile, Proof

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.catalogue import Level
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["remember"]


def remember(ports: Ports, backup: StoredBackup, level: Level, *, failed: str = "") -> None:
    """Write down that the backup passed `level` now, or (`failed` says why) did not.

    A backup that lies outside the backup directory is not in its catalogue, and nothing is written beside it.
    """
    if backup.path.parent != ports.directory.root:
        return
    file = CatalogueFile(ports.directory.root)
    proof = Proof(at=ports.clock.now(), passed=not failed, note=failed)
    file.write(file.read().with_proof(backup, level, proof))
