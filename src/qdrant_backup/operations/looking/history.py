"""`history ID`: one point through all backups, oldest first, by a binary search in each digest.

Only the backups around a change are opened, to say what changed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.digest import payload_part, point_key, vector_part
from qdrant_backup.errors import CollectionMissing, ContentUnreadable, OperationFailed
from qdrant_backup.model import CollectionName, utc_text
from qdrant_backup.operations.events import Warned
from qdrant_backup.operations.looking.diff import fields_changed
from qdrant_backup.operations.looking.sides import Sides, points_by_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qdrant_backup.operations.looking.sides import BackupSide
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["Event", "history", "history_json", "require_known"]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to the point between two backups.

    Attributes:
        backup: the backup that shows it first; for `last_seen` the newest one that has the point.
        what: `first_seen`, `changed`, `gone`, `returned` or `last_seen`.
        fields: payload field to {before, after}.
        vectors: the names of the vectors that changed.
    """

    backup: StoredBackup
    collection: CollectionName
    what: str
    fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict[str, Any])
    vectors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The point in one backup: its record there, and the vector names of that digest; None where it is not."""

    side: BackupSide
    record: bytes | None
    names: tuple[str, ...]

    def vectors(self) -> dict[str, bytes]:
        """The vectors' hashes by name."""
        return {name: vector_part(self.record or b"", self.names, name) for name in self.names}


def history(ports: Ports, point_id: int | str, collections: Sequence[str] = ()) -> list[Event]:
    """Everything that the backups tell of a point, collection by collection, oldest first.

    Raises:
        CollectionMissing: no backup has a collection of that name.
        OperationFailed: no backup has the point.
        IntegrityFailed: a digest is damaged.
    """
    backups = sorted(ports.directory.entries(), key=lambda backup: backup.order)
    names = require_known(backups, collections)
    events: list[Event] = []
    with Sides(ports) as sides:
        opened = [sides.backup(backup) for backup in backups]
        for name in names:
            events += _events(ports, opened, CollectionName(name), point_id)
    if not events:
        raise OperationFailed(
            f"no backup has a point {point_id}",
            why=f"{len(backups)} backup(s) were looked through in {ports.directory.root}",
            advice="Check the id, and name the backup directory with --output.",
        )
    return events


def require_known(backups: Sequence[StoredBackup], collections: Sequence[str]) -> Sequence[str]:
    """The names of the collections that were asked for: those given, or all that the backups have.

    Raises:
        CollectionMissing: no backup has a collection of that name.
    """
    there = sorted({name for backup in backups for name in backup.manifest.collections})
    missing = sorted(set(collections) - set(there))
    if missing:
        raise CollectionMissing(
            f"no backup has a collection {missing[0]!r}",
            why=f"they have {', '.join(there) or 'none'}",
            advice="Check the spelling: names are case-sensitive.",
        )
    return collections or there


def _events(ports: Ports, sides: Sequence[BackupSide], name: CollectionName, point_id: int | str) -> list[Event]:
    """What happened to the point in one collection; nothing when no backup has it there."""
    events: list[Event] = []
    last: _Seen | None = None
    gone = False
    for side in sides:
        seen = _look(ports, side, name, point_id)
        if seen is None:
            continue
        if seen.record is None:
            if last is not None and not gone:
                events.append(Event(side.backup, name, "gone"))
                gone = True
            continue
        if last is None:
            events.append(Event(side.backup, name, "first_seen"))
        else:
            events += _change(last, seen, name, point_id, returned=gone)
        last, gone = seen, False
    if last is not None:
        events.append(Event(last.side.backup, name, "last_seen"))
    return sorted(events, key=lambda event: event.backup.order)


def _look(ports: Ports, side: BackupSide, name: CollectionName, point_id: int | str) -> _Seen | None:
    """The point in one backup; None where the backup says nothing of the collection."""
    if name not in side.collections:
        return None
    try:
        reader = side.digest(name)
    except ContentUnreadable as error:
        ports.tell(Warned(f"{name} of {side.name} is left out: {error}"))
        return None
    return _Seen(side, reader.find(point_key(point_id)), reader.summary.vector_names)


def _change(last: _Seen, seen: _Seen, name: CollectionName, point_id: int | str, *, returned: bool) -> list[Event]:
    old, new = last.vectors(), seen.vectors()
    vectors = tuple(sorted(each for each in old.keys() & new.keys() if old[each] != new[each]))
    fields: Mapping[str, Mapping[str, Any]] = {}
    if payload_part(last.record or b"") != payload_part(seen.record or b""):
        before = points_by_id(last.side, name, [point_id]).get(point_id, {})
        after = points_by_id(seen.side, name, [point_id]).get(point_id, {})
        fields = fields_changed(before.get("payload"), after.get("payload"))
    if not (returned or vectors or fields):
        return []
    return [Event(seen.side.backup, name, "returned" if returned else "changed", fields, vectors)]


def history_json(events: Sequence[Event]) -> list[dict[str, Any]]:
    """`history --json`; `docs/json.md` holds the schema."""
    return [
        {
            "backup": event.backup.backup_id,
            "finished_at": utc_text(event.backup.finished_at),
            "collection": event.collection,
            "event": event.what,
            "changes": {"fields": dict(event.fields), "vectors": list(event.vectors)},
        }
        for event in events
    ]
