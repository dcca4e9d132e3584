"""Copies of a good backup with something wrong in them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from qdrant_backup.layout import backup_id_at
from qdrant_backup.manifest import Manifest
from qdrant_backup.model import CollectionName
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.stored import StoredBackup, load

__all__ = ["copied", "republished", "rewrite_manifest"]


def copied(backup: StoredBackup, root: Path) -> StoredBackup:
    """The backup once more, in another backup directory."""
    root.mkdir(parents=True, exist_ok=True)
    return load(Path(shutil.copytree(backup.path, root / backup.path.name)))


def rewrite_manifest(backup: StoredBackup, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest's JSON and leave all else, `SHA256SUMS` too, as it is."""
    path = backup.path / "manifest.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def republished(backup: StoredBackup, root: Path, snapshots: dict[str, bytes], **changes: Any) -> StoredBackup:
    """The backup with other snapshots, its manifest and checksums made to fit them."""
    manifest: Manifest = backup.manifest
    collections = dict(manifest.collections)
    with BackupDirectory(root).begin(backup_id_at(backup.finished_at + timedelta(seconds=1))) as partial:
        for name, entry in collections.items():
            data = snapshots.get(name) or (backup.path / entry.snapshot).read_bytes()
            partial.write(entry.snapshot, data)
            if entry.digest_file:
                partial.write(entry.digest_file, (backup.path / entry.digest_file).read_bytes())
            collections[CollectionName(name)] = msgspec.structs.replace(
                entry, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
            )
        return partial.publish(msgspec.structs.replace(manifest, collections=collections, config_files=[], **changes))
