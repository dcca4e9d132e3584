"""Copies of a good backup with something wrong in them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from qdrant_backup.layout import backup_id_at
from qdrant_backup.manifest import Manifest
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.backup import BackupRequest
from qdrant_backup.operations.backup import backup as back_up
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.stored import StoredBackup, load
from support.restoring import Lab, points_of

__all__ = ["copied", "everything", "flip", "intact", "republished", "resigned", "rewrite_manifest"]


def everything(lab: Lab) -> StoredBackup:
    """A good backup with a file of every kind: two collections, digests, config files, a log."""
    lab.make("docs", points_of(20), indexes={"rank": "integer"})
    lab.make("Über", points_of(3))
    for name in ("settings.json", ".env", "logs/a.log"):
        path = lab.install / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}\n")
    return back_up(BackupRequest(include_logs=True), lab.ports).backup


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file; a negative number counts from its end."""
    data = bytearray(path.read_bytes())
    bit %= 8 * len(data)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@contextlib.contextmanager
def intact(path: Path) -> Iterator[bytes]:
    """A file's bytes, which it has again afterwards, whatever was put in its place."""
    good = path.read_bytes()
    try:
        yield good
    finally:
        if path.is_symlink() or not path.exists():
            path.unlink(missing_ok=True)
        path.write_bytes(good)


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


def resigned(backup: Path, change: Callable[[dict[str, Any]], Any], files: Mapping[str, bytes] | None = None) -> None:
    """Change a backup as an attacker would who has no key: every size and checksum fits afterwards.

    Args:
        backup: its directory.
        change: changes the manifest's JSON in place.
        files: other bytes for files of it.
    """
    raw = json.loads((backup / "manifest.json").read_text("utf-8"))
    for name, data in (files or {}).items():
        (backup / name).write_bytes(data)
        said = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        for file in raw["files"]:
            file.update(said if file["path"] == name else {})
        for entry in raw["collections"].values():
            entry.update(said if f"qdrant/{entry['snapshot_file']}" == name else {})
    change(raw)
    data = json.dumps(raw).encode()
    (backup / "manifest.json").write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"]
    lines += [f"{file['sha256']}  {file['path']}\n" for file in raw["files"]]
    (backup / "SHA256SUMS").write_text("".join(lines), "utf-8")


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
