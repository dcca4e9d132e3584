"""Remembers in the catalogue how far a backup has been proven, so that `list` and `status` can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.operations.events import Warned
from qdrant_backup.storage.catalogue import CatalogueFile, Proof
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.catalogue import Level
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["remember", "try_to_remember"]


def remember(
    ports: Ports, backup: StoredBackup, level: Level, *, failed: str = "", note: str = "", server: str = ""
) -> None:
    """Write down that the backup passed `level` now, or (`failed` says why) did not.

    A backup that lies outside the backup directory is not in its catalogue, and nothing is written beside it. Needs the
    directory's lock.
    """
    if backup.path.parent != ports.directory.root:
        return
    file = CatalogueFile(ports.directory.root)
    proof = Proof(at=ports.clock.now(), passed=not failed, note=failed or note, server=server)
    file.write(file.read().with_proof(backup, level, proof))


def try_to_remember(
    ports: Ports, backup: StoredBackup, level: Level, *, failed: str = "", note: str = "", server: str = ""
) -> None:
    """The same where nobody holds the lock: taken for this alone, and a warning where it, or the disk, cannot be had.

    What was found out stands, whether or not a note of it can be kept.
    """
    if backup.path.parent != ports.directory.root:
        return
    try:
        with DirectoryLock(ports.directory.root, ports.clock, "verify"):
            remember(ports, backup, level, failed=failed, note=note, server=server)
    except QdrantBackupError as error:
        ports.tell(Warned(f"the outcome for {backup.backup_id} could not be noted: {error}"))
