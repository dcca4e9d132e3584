"""What a killed backup left on the server: an intent is on disk before each snapshot is created there.

A creation whose answer never came may still have succeeded. The intent tells which snapshots existed before, so the next
run can find the one that was ours, remove that one only, and leave a user's alone.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import msgspec

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.layout import INTENTS
from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.storage.documents import NewerFormat, Unsound, seal, unseal
from qdrant_backup.storage.files import fsync_directory, make_private_directory, remove_file, write_atomically
from qdrant_backup.storage.reading import read_small, reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["IntentFile", "IntentStore", "SnapshotIntent", "url_without_secrets"]

INTENT_FORMAT = 1
_SUFFIX = ".json"
_LARGEST_BYTES = 16 << 20


class SnapshotIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that a run is about to create on a server.

    Attributes:
        server_url: which server, without user name, password and query.
        collection: the collection a snapshot is taken of.
        existing: the names of the snapshots that were listed before.
        begun_at: our clock, UTC.
        server_time: the server's own clock (its `Date` header), which its snapshots' creation times follow; None when
            it does not send one.
        backup_id: the backup that the snapshot was meant for.
        shard_id: for a snapshot of one shard.
        snapshot: the created snapshot's name, once the server has answered; empty before.
        server_process_id: telemetry's id of the server's process; empty when unknown.
    """

    server_url: str
    collection: CollectionName
    existing: tuple[str, ...]
    begun_at: datetime
    server_time: datetime | None = None
    backup_id: BackupId = BackupId("")
    shard_id: int | None = None
    snapshot: str = ""
    server_process_id: str = ""
    format: int = INTENT_FORMAT


class IntentFile(msgspec.Struct, frozen=True):
    """An intent on disk; `name` is its file's."""

    name: str
    intent: SnapshotIntent


def url_without_secrets(url: str) -> str:
    """A URL's scheme, host, port and path; what could be a secret (user, password, query, fragment) is left out."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class IntentStore:
    """The intents of a backup directory; needs its lock.

    Args:
        root: the backup directory.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / INTENTS

    def record(self, intent: SnapshotIntent) -> IntentFile:
        """Write an intent down; it is durable when this returns, and only then may the snapshot be created.

        Raises:
            NotWritable: it could not be written.
            InsufficientSpace: no room for it.
        """
        clean = msgspec.structs.replace(intent, server_url=url_without_secrets(intent.server_url))
        if make_private_directory(self._directory):
            fsync_directory(self._directory.parent)
        file = IntentFile(secrets.token_hex(8) + _SUFFIX, clean)
        write_atomically(self._directory / file.name, seal(clean))
        return file

    def answered(self, file: IntentFile, snapshot: str) -> IntentFile:
        """The server named the snapshot it created: write the name down, so that no comparing of lists is needed."""
        named = IntentFile(file.name, msgspec.structs.replace(file.intent, snapshot=snapshot))
        write_atomically(self._directory / file.name, seal(named.intent))
        return named

    def forget(self, file: IntentFile) -> None:
        """The snapshot has been removed from the server, or was never made; durable when it returns."""
        if self._directory.is_dir():
            remove_file(self._directory / file.name)

    def pending(self) -> list[IntentFile]:
        """The intents of runs that did not end in order, oldest first.

        Raises:
            IntegrityFailed: one is damaged; its file is named, so that it can be looked at and removed.
            Incompatible: a newer version of this tool wrote one.
        """
        if not self._directory.is_dir():
            return []
        with reading(self._directory):
            paths = sorted(path for path in self._directory.iterdir() if path.name.endswith(_SUFFIX))
        return sorted((_read(path) for path in paths), key=lambda file: (file.intent.begun_at, file.name))


def _read(path: Path) -> IntentFile:
    try:
        return IntentFile(path.name, unseal(read_small(path, _LARGEST_BYTES), SnapshotIntent, INTENT_FORMAT))
    except NewerFormat as error:
        raise Incompatible(
            f"The note {path} was written by a newer qdrant-backup",
            why="a backup of that version may have left a snapshot on the server",
            advice="Update qdrant-backup, and run `qdrant-backup backup` with it.",
        ) from error
    except Unsound as error:
        raise IntegrityFailed(
            f"The note {path} is damaged",
            why=str(error),
            advice="A killed backup may have left a snapshot on the server: list them, remove it, then delete this file.",
        ) from error
