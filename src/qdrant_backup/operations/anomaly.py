"""The anomaly brake: each backup is compared with the one before it, and what looks like a loss is said loudly.

A backup is made all the same: it is what the server holds. But the one before it may now be the last good one, so it is
pinned, and `prune` deletes nothing until a person has looked (`anomaly accept BACKUP`).

The thresholds are few. Nothing below `LEAST_POINTS` points counts, and then:

    points gone          more than `GONE_SHARE` of the points of the backup before
    vectors changed      more than `VECTORS_SHARE` of the points in both have another vector: another embedding model
    zero vectors         more than `ZERO_SHARE` of the points have an all-zero vector, and more than before
    duplicates           more than `DUPLICATE_SHARE` of the points repeat another one's payload and vectors, and more than before

Size and distance of a vector, a payload index or a collection that is gone need no threshold, and neither have vectors
with NaN or an infinity in them, when there are more than before: nobody means those. They were counted when the digest was
computed, since a hash does not tell them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.digest import KEY_SIZE, DigestReader, vector_hash, vector_part
from qdrant_backup.digest_merge import changes
from qdrant_backup.errors import NotUndoable, QdrantBackupError
from qdrant_backup.operations.events import Warned
from qdrant_backup.storage.catalogue import CatalogueFile, Pin
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.model import BackupId
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.catalogue import Catalogue
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["Suspect", "accept", "compare_with_previous", "suspects"]

LEAST_POINTS = 10
GONE_SHARE = 0.2
VECTORS_SHARE = 0.5
ZERO_SHARE = 0.2
DUPLICATE_SHARE = 0.2
_MOST_COUNTED = 2_000_000
_NOTE = "anomaly"
_PIN_REASON = "the last backup before an anomaly in"


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A backup that a person should look at: what was found, against which backup, and whether it was accepted."""

    backup_id: BackupId
    previous: str
    findings: tuple[str, ...]
    accepted: bool


@dataclasses.dataclass(frozen=True)
class _Tally:
    """How two digests differ, in numbers; `fresh` are the points added or changed."""

    gone: int
    common: int
    fresh: int
    vectors: Mapping[str, int]


# Comparing ------------------------------------------------------------------------------------------------------------


def compare_with_previous(ports: Ports, backup: StoredBackup, *, whole: bool) -> tuple[str, ...]:
    """Compare a new backup with the newest earlier one of the same server, and set the brake where that is called for.

    Needs the directory's lock. What cannot be compared is passed over: the backup stands, whatever this finds.

    Args:
        ports: what to act through.
        backup: the new backup.
        whole: it was to hold all collections, so one that is not there is gone.

    Returns:
        The findings, each a sentence with its numbers; none when all is well.
    """
    earlier = _earlier(ports, backup)
    findings: list[str] = []
    last: StoredBackup | None = None
    for name, entry in sorted(backup.manifest.collections.items()):
        previous = next((one for one in earlier if name in one.manifest.collections), None)
        if previous is None:
            continue
        found = _of_collection(previous, backup, previous.manifest.collections[name], entry)
        findings += found
        last = last or (previous if found else None)
    if whole and earlier:
        gone = sorted(earlier[0].manifest.collections.keys() - backup.manifest.collections.keys())
        findings += [f"the collection {name} is gone" for name in gone]
        last = last or (earlier[0] if gone else None)
    if last is not None:
        _set_brake(ports, backup, last, findings)
    return tuple(findings)


def _earlier(ports: Ports, backup: StoredBackup) -> list[StoredBackup]:
    """The whole backups of the same server before this one, newest first."""
    here = (backup.manifest.qdrant_host, backup.manifest.qdrant_port)
    return [
        one
        for one in ports.directory.entries()
        if one.order < backup.order and (one.manifest.qdrant_host, one.manifest.qdrant_port) == here
    ]


def _of_collection(
    previous: StoredBackup, backup: StoredBackup, old: CollectionEntry, new: CollectionEntry
) -> list[str]:
    findings = _config_findings(old, new)
    if old.content and new.content and old.content != new.content:
        try:
            with previous.open(old.digest_file) as before, backup.open(new.digest_file) as after:
                findings += [*_content_findings(new, before, after), *_not_finite_findings(old, new)]
        except QdrantBackupError as error:
            findings.append(f"{new.name}: it could not be compared with {previous.backup_id}: {error}")
    return findings


def _config_findings(old: CollectionEntry, new: CollectionEntry) -> list[str]:
    if not (old.config and new.config):
        return []
    before, after = _shapes(old.config), _shapes(new.config)
    findings = [
        f"{new.name}: {field} was {before.get(field, 'absent')} and is {after.get(field, 'absent')}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]
    lost = sorted(old.payload_schema.keys() - new.payload_schema.keys())
    return [*findings, *(f"{new.name}: the payload index of {field} is gone" for field in lost)]


def _content_findings(entry: CollectionEntry, before: BinaryIO, after: BinaryIO) -> list[str]:
    old, new = DigestReader(before), DigestReader(after)
    tally = _tally(old, new)
    name, findings = entry.name, list[str]()
    if _many(tally.gone, old.summary.points, GONE_SHARE):
        findings.append(
            f"{name}: {tally.gone} of {old.summary.points} points are gone "
            f"({_percent(tally.gone, old.summary.points)}; more than {GONE_SHARE:.0%} raises this)"
        )
    for vector, count in tally.vectors.items():
        if _many(count, tally.common, VECTORS_SHARE):
            findings.append(
                f"{name}: {count} of {tally.common} points have another vector{_named(vector)} "
                f"({_percent(count, tally.common)}; more than {VECTORS_SHARE:.0%} raises this): another embedding model?"
            )
    return [*findings, *_zero_findings(entry, old, new), *_duplicate_findings(entry, tally, old, new)]


def _tally(old: DigestReader, new: DigestReader) -> _Tally:
    names = sorted(set(old.summary.vector_names) & set(new.summary.vector_names))
    gone, fresh, vectors = 0, 0, dict.fromkeys(names, 0)
    for change in changes(old, new):
        if change.after is None:
            gone += 1
            continue
        fresh += 1
        if change.before is not None:
            for name in names:
                vectors[name] += vector_part(change.before, names, name) != vector_part(change.after, names, name)
    return _Tally(gone, old.summary.points - gone, fresh, vectors)


def _many(count: int, of: int, share: float) -> bool:
    return count >= LEAST_POINTS and count > share * of


def _percent(count: int, of: int) -> str:
    return f"{count / of:.0%}"


def _named(vector: str) -> str:
    return f" {vector!r}" if vector else ""


def _dense(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of each dense vector; the unnamed one is the empty string."""
    params = cast("dict[str, Any]", config.get("params") or {})
    vectors = cast("dict[str, Any]", params.get("vectors") or {})
    return {"": vectors} if isinstance(vectors.get("size"), int) else vectors


def _shapes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two collections must have alike for their vectors to be compared."""
    return {
        f"the {key} of {f'vector {name!r}' if name else 'its vector'}": one.get(key)
        for name, one in _dense(config).items()
        for key in ("size", "distance")
    }


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """The size of each dense vector that is no multivector."""
    return {name: one["size"] for name, one in _dense(config).items() if not one.get("multivector_config")}


def _zero_findings(entry: CollectionEntry, old: DigestReader, new: DigestReader) -> Iterator[str]:
    for vector, size in _sizes(entry.config).items():
        zero = vector_hash([0.0] * size)
        now = _having(new, vector, zero)
        if _many(now, new.summary.points, ZERO_SHARE) and now > _having(old, vector, zero):
            yield (
                f"{entry.name}: {now} of {new.summary.points} points have an all-zero vector{_named(vector)} "
                f"({_percent(now, new.summary.points)}; more than {ZERO_SHARE:.0%} raises this)"
            )


def _having(reader: DigestReader, vector: str, hashed: bytes) -> int:
    names = reader.summary.vector_names
    if vector not in names:
        return 0
    if not any(hashed in block for block in reader.blocks()):
        return 0
    return sum(vector_part(record, names, vector) == hashed for record in reader.records())


def _not_finite_findings(old: CollectionEntry, new: CollectionEntry) -> Iterator[str]:
    for vector, count in sorted(new.not_finite.items()):
        if count > old.not_finite.get(vector, 0):
            yield (
                f"{new.name}: {count} of {new.records} points have NaN or an infinity in their vector{_named(vector)} "
                f"(any more than before raise this): search cannot rank them, and no server takes them back"
            )


def _duplicate_findings(entry: CollectionEntry, tally: _Tally, old: DigestReader, new: DigestReader) -> Iterator[str]:
    # Only a point that is new or was changed can be a new repetition; looking at all of them takes time and memory.
    if tally.fresh < LEAST_POINTS or new.summary.points > _MOST_COUNTED:
        return
    now = _repeated(new)
    if _many(now, new.summary.points, DUPLICATE_SHARE) and now > _repeated(old):
        yield (
            f"{entry.name}: {now} of {new.summary.points} points repeat the payload and vectors of another "
            f"({_percent(now, new.summary.points)}; more than {DUPLICATE_SHARE:.0%} raises this)"
        )


def _repeated(reader: DigestReader) -> int:
    seen = {hash(record[KEY_SIZE:]) for record in reader.records()}
    return reader.summary.points - len(seen)


# The brake ------------------------------------------------------------------------------------------------------------


def _set_brake(ports: Ports, backup: StoredBackup, previous: StoredBackup, findings: Sequence[str]) -> None:
    file = CatalogueFile(ports.directory.root)
    catalogue = file.read()
    entry = catalogue.entry(backup)
    note = {"findings": list(findings), "previous": previous.backup_id, "accepted": False}
    catalogue = catalogue.with_entry(msgspec.structs.replace(entry, extra={**entry.extra, _NOTE: note}))
    if catalogue.entry(previous).pin is None and not _note(catalogue, previous).get("findings"):
        pin = Pin(at=ports.clock.now(), reason=f"{_PIN_REASON} {backup.backup_id}")
        catalogue = catalogue.with_pin(previous, pin)
    file.write(catalogue)
    for finding in findings:
        ports.tell(Warned(f"ANOMALY: {finding}, compared with {previous.backup_id}"))
    ports.tell(
        Warned(
            f"{previous.backup_id} is kept, and prune waits until you have looked: `qdrant-backup diff "
            f"{previous.backup_id} {backup.backup_id}`, then `qdrant-backup anomaly accept {backup.backup_id}`"
        )
    )


def _note(catalogue: Catalogue, backup: StoredBackup) -> dict[str, Any]:
    return catalogue.entry(backup).extra.get(_NOTE) or {}


def suspects(ports: Ports) -> tuple[Suspect, ...]:
    """The backups with findings, newest first.

    Raises:
        IntegrityFailed: the catalogue is damaged.
    """
    catalogue = CatalogueFile(ports.directory.root).read()
    found: list[Suspect] = []
    for backup in ports.directory.survey().backups:
        note = _note(catalogue, backup)
        if note.get("findings"):
            found.append(Suspect(backup.backup_id, note["previous"], tuple(note["findings"]), bool(note["accepted"])))
    return tuple(found)


def accept(ports: Ports, backup: StoredBackup) -> Suspect:
    """A person has looked: the findings are accepted, and the pin that they set is taken off.

    Raises:
        NotUndoable: nothing was found in that backup, or it was accepted before.
        Locked: another run is at work.
    """
    with DirectoryLock(ports.directory.root, ports.clock, "anomaly accept"):
        file = CatalogueFile(ports.directory.root)
        catalogue = file.read()
        note = _note(catalogue, backup)
        if not note.get("findings") or note["accepted"]:
            raise NotUndoable(
                f"there is nothing to accept in backup {backup.backup_id}",
                why="no anomaly was found in it" if not note else "it was accepted before",
                advice="`qdrant-backup anomaly list` shows what waits.",
            )
        entry = catalogue.entry(backup)
        extra = {**entry.extra, _NOTE: {**note, "accepted": True}}
        catalogue = catalogue.with_entry(msgspec.structs.replace(entry, extra=extra))
        reason = f"{_PIN_REASON} {backup.backup_id}"
        for pinned in ports.directory.survey().backups:
            pin = catalogue.entry(pinned).pin
            if pin is not None and pin.reason == reason:
                catalogue = catalogue.with_pin(pinned, None)
        file.write(catalogue)
    return Suspect(backup.backup_id, note["previous"], tuple(note["findings"]), accepted=True)
