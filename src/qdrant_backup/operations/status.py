"""`status`, the guide's `/aim-status`: the server, what it holds, whether memories really come back, and the last backup."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.model import utc_text
from qdrant_backup.operations.listing import list_backups, list_json, restorable_json
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.selection import in_order

if TYPE_CHECKING:
    from datetime import datetime

    from qdrant_backup.model import CollectionName, ServerIdentity
    from qdrant_backup.operations.listing import Listed
    from qdrant_backup.operations.ports import Ports

__all__ = ["CollectionStatus", "Status", "status", "status_json"]

_TEXT_FIELDS = ("content", "text", "document", "title", "name")
_EXCERPT = 60


@dataclasses.dataclass(frozen=True)
class CollectionStatus:
    """One collection of the server.

    Attributes:
        points: counted exactly; None where the count failed.
        health: the server's word: `green`, `yellow`, `grey`, `red`; empty where it did not answer.
        retrieved: the id of a point that was read with its payload; None when there is none, or reading failed.
        excerpt: the beginning of that point's text, where it has one.
        error: why it could not be judged; empty when all is well.
        backed_up: records in the last backup that has it; None when none has.
    """

    name: CollectionName
    points: int | None = None
    health: str = ""
    retrieved: int | str | None = None
    excerpt: str = ""
    error: str = ""
    backed_up: int | None = None


@dataclasses.dataclass(frozen=True)
class Status:
    """Everything at one moment.

    Attributes:
        server: who answered; None when nobody did, and `error` says why.
        last: the newest whole backup.
        proven: the newest backup that a drill proved restorable.
        unfinished: a restore or recovery that has not ended, or whose journal is damaged; None when there is none.
    """

    at: datetime
    url: str
    server: ServerIdentity | None
    collections: tuple[CollectionStatus, ...]
    last: Listed | None
    error: QdrantBackupError | None = None
    proven: Listed | None = None
    unfinished: QdrantBackupError | None = None

    @property
    def age_s(self) -> float | None:
        """How old the last backup is, in seconds."""
        return (self.at - self.last.backup.finished_at).total_seconds() if self.last else None

    @property
    def catalogue_error(self) -> QdrantBackupError | None:
        """Why nobody knows what was proven of the last backup; None where that is known, and where there is none."""
        return self.last.catalogue_error if self.last else None

    @property
    def ailing(self) -> tuple[CollectionStatus, ...]:
        """The collections that do not answer as they should."""
        return tuple(collection for collection in self.collections if collection.error)


def status(ports: Ports) -> Status:
    """Look at the server and the backups. What cannot be reached is part of the answer.

    Raises:
        NotWritable: the backup directory cannot be read.
    """
    overview = list_backups(ports.directory)
    whole = [entry for entry in overview.listed if entry.backup.is_whole]
    last = whole[0] if whole else None
    proven = next((entry for entry in whole if entry.restorable is not None), None)
    records: dict[str, int] = {}
    for entry in whole:
        for name, collection in entry.backup.manifest.collections.items():
            records.setdefault(name, collection.records)
    url, unfinished = ports.server.url, _unfinished(ports)
    try:
        identity = ports.server.identity()
        names = in_order(ports.server.collections())
    except QdrantBackupError as error:
        return Status(ports.clock.now(), url, None, (), last, error, proven, unfinished)
    collections = tuple(_collection(ports, name, records.get(name)) for name in names)
    return Status(ports.clock.now(), url, identity, collections, last, None, proven, unfinished)


def _unfinished(ports: Ports) -> QdrantBackupError | None:
    try:
        refuse_open_journal(ports)
    except QdrantBackupError as error:
        return error
    return None


def _collection(ports: Ports, name: CollectionName, backed_up: int | None) -> CollectionStatus:
    found = CollectionStatus(name, backed_up=backed_up)
    try:
        found = dataclasses.replace(found, health=ports.server.collection(name).status)
        found = dataclasses.replace(found, points=ports.server.count(name))
        page = next(iter(ports.server.scroll(name, limit=1)), None)
    except QdrantBackupError as error:
        return dataclasses.replace(found, error=str(error))
    if not page:
        return found if not found.points else dataclasses.replace(found, error="it counts points and returns none")
    return dataclasses.replace(found, retrieved=page[0]["id"], excerpt=_excerpt(page[0].get("payload") or {}))


def _excerpt(payload: dict[str, Any]) -> str:
    text = next((payload[field] for field in _TEXT_FIELDS if isinstance(payload.get(field), str)), "")
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def status_json(found: Status) -> dict[str, Any]:
    """`status --json`; `docs/json.md` holds the schema."""
    return {
        "at": utc_text(found.at),
        "server": {
            "url": found.url,
            "reachable": found.server is not None,
            "version": found.server.version if found.server else None,
            "error": str(found.error) if found.error else None,
        },
        "collections": [
            {
                "name": collection.name,
                "points": collection.points,
                "status": collection.health or None,
                "retrieved": collection.retrieved,
                "backed_up_records": collection.backed_up,
                "error": collection.error or None,
            }
            for collection in found.collections
        ],
        "last_backup": {**list_json(found.last), "age_s": found.age_s} if found.last else None,
        "proven_restorable": {"id": found.proven.backup.backup_id, **(restorable_json(found.proven) or {})}
        if found.proven
        else None,
        "unfinished": str(found.unfinished) if found.unfinished else None,
    }
