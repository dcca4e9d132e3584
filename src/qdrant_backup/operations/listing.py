"""What a backup looks like to somebody who asks for it: `list` and `show`, for people and as JSON.

The JSON of `list` is an array of {id, path, kind, finished_at, collections, records, size_bytes, level, warnings},
newest first; `show` gives one such object with details. `docs/json.md` holds both schemas, and tests hold them to it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.model import utc_text
from qdrant_backup.storage.catalogue import Catalogue, CatalogueFile, Level

if TYPE_CHECKING:
    from qdrant_backup.storage.catalogue import Proof
    from qdrant_backup.storage.directory import BackupDirectory, Invalid
    from qdrant_backup.storage.stored import StoredBackup

__all__ = [
    "Listed",
    "Overview",
    "levels_unknown",
    "list_backups",
    "list_json",
    "listed",
    "look_at",
    "restorable_json",
    "show_json",
    "warnings_of",
]

EMBEDDED = "embedded engine"


@dataclasses.dataclass(frozen=True)
class Listed:
    """A backup with what the catalogue knows of it.

    Attributes:
        level: how far it was proven: `quick` when nobody looked further, `damaged` when a file is missing or cut.
        proven_at: when that level was passed, ISO 8601; empty for `quick` and `damaged`.
        pinned: why retention leaves it alone; empty when it does not.
        restorable: the drill that proves that it can be restored; None when none does.
        catalogue_error: why nothing of that is known, where the catalogue cannot be read.
    """

    backup: StoredBackup
    level: str
    proven_at: str = ""
    pinned: str = ""
    restorable: Proof | None = None
    catalogue_error: QdrantBackupError | None = None

    @property
    def restored_by(self) -> str:
        """What it was drilled in: a server's URL, or the embedded engine; empty when nothing proves it restorable."""
        return "" if self.restorable is None else self.restorable.server or EMBEDDED


@dataclasses.dataclass(frozen=True)
class Overview:
    """Everything in a backup directory that looks like a backup.

    Attributes:
        listed: those with a valid manifest, newest first.
        invalid: those without.
        catalogue_error: why levels and pins are unknown, where they are.
    """

    listed: tuple[Listed, ...]
    invalid: tuple[Invalid, ...]
    catalogue_error: QdrantBackupError | None = None


def list_backups(directory: BackupDirectory, *, safety: bool = False) -> Overview:
    """Look at all backups of a directory, quickly.

    Raises:
        NotWritable: the directory cannot be read.
    """
    found = directory.survey(safety=safety)
    catalogue, error = _catalogue(directory)
    return Overview(tuple(listed(backup, catalogue, error) for backup in found.backups), found.invalid, error)


def _catalogue(directory: BackupDirectory) -> tuple[Catalogue, QdrantBackupError | None]:
    try:
        return CatalogueFile(directory.root).read(), None
    except QdrantBackupError as error:
        return Catalogue(), error


def listed(backup: StoredBackup, catalogue: Catalogue, error: QdrantBackupError | None = None) -> Listed:
    """A backup with its level and pin; `error` is why the catalogue is an empty one, where it could not be read."""
    entry = catalogue.entry(backup)
    pinned = entry.pin.reason or "pinned" if entry.pin else ""
    if not backup.is_whole:
        return Listed(backup, "damaged", pinned=pinned, catalogue_error=error)
    level = entry.level
    if level is None:
        failed = any(not proof.passed for proof in entry.proofs.values())
        return Listed(backup, "damaged" if failed else Level.QUICK.value, pinned=pinned, catalogue_error=error)
    return Listed(backup, level.value, utc_text(entry.proofs[level].at), pinned, entry.restorable)


def look_at(directory: BackupDirectory, reference: str) -> Listed:
    """The backup that the user means, with what the catalogue knows of it; raises as `BackupDirectory.find` does."""
    return listed(directory.find(reference), *_catalogue(directory))


def levels_unknown(error: QdrantBackupError) -> str:
    """The warning where the catalogue cannot be read."""
    return f"levels and pins are unknown: {error}"


def warnings_of(backup: StoredBackup) -> list[str]:
    """What the backup itself warns of, and what is wrong with its files."""
    return [*backup.manifest.warnings, *(str(finding) for finding in backup.findings)]


def list_json(entry: Listed) -> dict[str, Any]:
    """One element of `list --json`."""
    backup = entry.backup
    return {
        "id": backup.backup_id,
        "path": str(backup.path),
        "kind": backup.manifest.kind,
        "finished_at": utc_text(backup.finished_at),
        "collections": list(backup.manifest.collections),
        "records": backup.manifest.records,
        "size_bytes": backup.size_bytes,
        "level": entry.level,
        "warnings": warnings_of(backup),
        "restorable": restorable_json(entry),
    }


def restorable_json(entry: Listed) -> dict[str, Any] | None:
    """When a drill proved that the backup can be restored, and in what."""
    if entry.restorable is None:
        return None
    return {"at": utc_text(entry.restorable.at), "by": entry.restored_by}


def show_json(entry: Listed) -> dict[str, Any]:
    """`show --json`: the element of `list --json`, with `collections` as objects by name, and the rest of the manifest."""
    manifest = entry.backup.manifest
    server = manifest.server
    return {
        **list_json(entry),
        "proven_at": entry.proven_at or None,
        "pinned": entry.pinned or None,
        "server_version": server.version if server else None,
        "qdrant_host": manifest.qdrant_host,
        "qdrant_port": manifest.qdrant_port,
        "ai_memory_version": manifest.ai_memory_version,
        "tool_version": manifest.tool_version or None,
        "collections": {
            name: {
                "records": collection.records,
                "size_bytes": collection.size_bytes,
                "sha256": collection.sha256 or None,
                "method": collection.method or None,
                "content": collection.content or None,
                "unverified": collection.unverified or None,
                "payload_indexes": sorted(collection.payload_schema),
            }
            for name, collection in manifest.collections.items()
        },
        "aliases": dict(manifest.aliases),
        "config_files": list(manifest.config_files),
        "includes_logs": manifest.includes_logs,
        "skipped": [{"what": skip.what, "reason": skip.reason} for skip in manifest.skipped],
    }
