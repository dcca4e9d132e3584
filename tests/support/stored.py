"""Backups on disk for tests: small, real, and made by the storage room itself."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from qdrant_backup.layout import backup_id_at, snapshot_path
from qdrant_backup.manifest import FORMAT, CollectionEntry, Manifest
from qdrant_backup.model import CollectionName
from qdrant_backup.storage.directory import BackupDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.storage.stored import StoredBackup

FIRST = datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)
SNAPSHOT = b"not really a tar" * 100


def manifest_of(finished: datetime, collection: str = "docs", **changes: Any) -> Manifest:
    """A manifest of one collection whose snapshot is `SNAPSHOT`."""
    name = CollectionName(collection)
    entry = CollectionEntry(
        name=name,
        records=3,
        snapshot_file=snapshot_path(name).rpartition("/")[2],
        size_bytes=len(SNAPSHOT),
        sha256=hashlib.sha256(SNAPSHOT).hexdigest(),
    )
    fields: dict[str, Any] = {
        "backup_date": finished.isoformat(),
        "finished_at": finished.isoformat(),
        "qdrant_host": "localhost",
        "qdrant_port": 26350,
        "collections": {name: entry},
        "format": FORMAT,
        **changes,
    }
    return Manifest(**fields)


def published(root: Path, moment: datetime = FIRST, *, safety: bool = False) -> StoredBackup:
    """Write a backup of one collection and one config file, finished at `moment`."""
    with BackupDirectory(root).begin(backup_id_at(moment), safety=safety) as partial:
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        partial.write("config/.env", b"QDRANT_PORT=26350\n")
        return partial.publish(manifest_of(moment, config_files=[".env"]))
