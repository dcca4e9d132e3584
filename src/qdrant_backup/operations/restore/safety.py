"""The safety copy: what a restore is about to replace, backed up before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import (
    AccessDenied,
    CollectionMissing,
    ConnectionFailed,
    InsufficientSpace,
    QdrantBackupError,
    RefusedForSafety,
)
from qdrant_backup.operations.backup import BackupRequest, back_up
from qdrant_backup.operations.events import Note, SafetyBegun, SafetyDone
from qdrant_backup.operations.restore.live import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.lock import DirectoryLock
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["SafetyCopy", "copy_now", "require_judged", "take_safety"]

# Errors that say what is wrong by themselves; any other one means that the target cannot be copied.
_PLAIN = (ConnectionFailed, AccessDenied, InsufficientSpace, CollectionMissing, RefusedForSafety)

Versions = dict[str, int]


class SafetyCopy:
    """A safety backup, and each collection's fingerprint from before it was begun."""

    def __init__(self, backup: StoredBackup, versions: dict[CollectionName, Versions | None]) -> None:
        self.backup = backup
        self.versions = versions


def copy_now(ports: Ports, names: Sequence[CollectionName]) -> StoredBackup:
    """Back the collections up as a safety backup.

    Raises:
        RefusedForSafety: one of them cannot be copied, a broken shard for instance; the advice names `--no-safety`.
        ConnectionFailed, AccessDenied, InsufficientSpace: as they say.
    """
    request = BackupRequest(include=tuple(names), kind="safety", with_config=False)
    try:
        backup = back_up(request, ports).backup
    except _PLAIN:
        raise
    except QdrantBackupError as error:
        raise RefusedForSafety(
            f"No safety copy could be made of {error.collection or ', '.join(names)}",
            why=str(error),
            advice="Nothing was changed. If what is there now may be lost, restore with --no-safety.",
            collection=error.collection,
        ) from error
    missing = [name for name in names if name not in backup.manifest.collections]
    if missing:
        raise RefusedForSafety(
            f"{', '.join(missing)} vanished while the safety copy was made",
            why="somebody else works on this server",
            advice="Nothing was changed. Run it again when nobody else changes collections.",
        )
    return backup


def _fingerprints(ports: Ports, names: Sequence[CollectionName]) -> dict[CollectionName, Versions | None]:
    return {name: fingerprint(ports, name) for name in names}


def take_safety(
    ports: Ports, lock: DirectoryLock, names: Sequence[CollectionName], *, allow_writers: bool = False
) -> SafetyCopy:
    """A safety copy during which nobody wrote: taken again once when somebody did.

    Raises:
        RefusedForSafety: they still write, or a target cannot be copied.
    """
    ports.tell(SafetyBegun(tuple(names)))
    versions = _fingerprints(ports, names)
    backup = copy_now(ports, names)
    moved = _moved(versions, _fingerprints(ports, names))
    if moved and not allow_writers:
        ports.tell(Note(f"{', '.join(moved)}: written to while the safety copy was made, taking it again"))
        versions = _fingerprints(ports, names)
        again = copy_now(ports, names)
        ports.directory.remove(backup, lock)
        backup = again
        moved = _moved(versions, _fingerprints(ports, names))
        if moved:
            raise RefusedForSafety(
                f"{', '.join(moved)}: somebody writes to it",
                why="it changed while its safety copy was made, twice; the restore would lose those writes",
                advice="Nothing was changed. Stop what writes to it, or give up those writes with --allow-writers.",
                collection=moved[0],
            )
    ports.tell(SafetyDone(str(backup.path), backup.manifest.records, backup.size_bytes))
    return SafetyCopy(backup, versions)


def _moved(
    before: dict[CollectionName, Versions | None], after: dict[CollectionName, Versions | None]
) -> list[CollectionName]:
    return [name for name, versions in before.items() if versions != after[name]]


def require_judged(backup: StoredBackup, *, allow_unverified: bool) -> tuple[str, ...]:
    """The engine has read every point of the safety copy, or the user has typed that it need not.

    Returns:
        Warnings about those it has not.

    Raises:
        RefusedForSafety: it has not, and nobody allowed that.
    """
    unread = {name: entry.unverified for name, entry in backup.manifest.collections.items() if not entry.content}
    if unread and not allow_unverified:
        name, why = next(iter(unread.items()))
        raise RefusedForSafety(
            f"The content of the safety copy of {name} could not be verified",
            why=why or "the engine cannot open it",
            advice="Nothing was changed. Allow it with --allow-unverified: the copy's bytes are checked, its points are not.",
            collection=name,
        )
    return tuple(f"{name}: the safety copy's content is unverified ({why})" for name, why in unread.items())
