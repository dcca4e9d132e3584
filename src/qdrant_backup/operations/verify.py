"""`verify`: proves, level by level, that a backup is what its manifest says.

    files     every byte matches its SHA-256
    archive   every snapshot is a whole archive: entry types, members, shards, end blocks
    content   the embedded engine opens it, and the points equal the digest

Each level includes those before it. The catalogue remembers the outcome, also when it is a failure.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.digest import DigestReader
from qdrant_backup.errors import ContentUnreadable, IntegrityFailed
from qdrant_backup.operations.levels import try_to_remember
from qdrant_backup.storage.catalogue import Level
from qdrant_backup.storage.verify import check_files

if TYPE_CHECKING:
    from qdrant_backup.engine.engine import Digested
    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.model import DigestSummary
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["Verdict", "digested_anew", "held_digest", "verify"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Attributes:
        level: the level that was asked for.
        passed: nothing of the backup is damaged, and all of it could be judged at that level.
        damage: what is wrong, one sentence each.
        unjudged: what could not be judged at that level, and why: a finding, not silence.
        remarks: what is odd and harms nothing.
    """

    backup: StoredBackup
    level: Level
    damage: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the backup has this level now."""
        return not self.damage and not self.unjudged

    def raise_for_damage(self) -> None:
        """Raises IntegrityFailed when something is damaged."""
        if self.damage:
            raise IntegrityFailed(f"backup {self.backup.backup_id} is damaged", why="; ".join(self.damage[:5]))


def verify(backup: StoredBackup, level: Level, ports: Ports) -> Verdict:
    """Verify one backup up to `level`; the backup itself is only read.

    Raises:
        NotWritable: this user may not read it. Damage is not raised, it is in the verdict.
        BackupNotFound: it was deleted meanwhile; what is missing of it then is no damage.
    """
    findings = check_files(backup, ports.progress)
    damage = [str(finding) for finding in findings if finding.is_damage]
    remarks = tuple(str(finding) for finding in findings if not finding.is_damage)
    unjudged: list[str] = []
    if not damage and level.rank >= Level.ARCHIVE.rank:
        for entry in backup.manifest.collections.values():
            found, is_damage = _judged(backup, entry, level, ports)
            (damage if is_damage else unjudged).extend(found)
    if damage:
        backup.require_still_there()
    verdict = Verdict(backup, level, tuple(damage), tuple(unjudged), remarks)
    _note(verdict, ports)
    return verdict


def _judged(backup: StoredBackup, entry: CollectionEntry, level: Level, ports: Ports) -> tuple[list[str], bool]:
    """What is wrong with a collection's snapshot, and whether that is damage."""
    try:
        _judge(backup, entry, level, ports)
    except ContentUnreadable as error:
        return [f"{entry.name}: content unverified, {error}"], False
    except IntegrityFailed as error:
        return [f"{entry.name}: {error}"], True
    return [], False


def _judge(backup: StoredBackup, entry: CollectionEntry, level: Level, ports: Ports) -> None:
    if level.rank < Level.CONTENT.rank:
        walker = ArchiveWalker()
        for block in backup.blocks(entry.snapshot):
            walker.feed(block)
        walker.finish()
        return
    with tempfile.TemporaryDirectory(prefix="qdrant-backup-verify-") as scratch:
        digested = digested_anew(backup, entry, Path(scratch) / "digest", ports)
    _compare(backup, entry, digested)


def digested_anew(backup: StoredBackup, entry: CollectionEntry, target: Path, ports: Ports) -> Digested:
    """The digest of a collection's snapshot, computed now, at `target`.

    Raises:
        IntegrityFailed: the snapshot is damaged.
        ContentUnreadable: the engine cannot open it.
    """
    with ports.engine.open_digest(target, name=entry.snapshot_file) as sink:
        ports.progress.begin(f"Reading {entry.name}", entry.size_bytes)
        try:
            for block in backup.blocks(entry.snapshot):
                sink.write(block)
                ports.progress.advance(len(block))
        finally:
            ports.progress.end()
        return sink.finish()


def held_digest(backup: StoredBackup, entry: CollectionEntry) -> DigestSummary:
    """What the digest that a backup holds of a collection says; it has one.

    Raises:
        IntegrityFailed: it is damaged.
    """
    with backup.open(entry.digest_file) as stream:
        reader = DigestReader(stream, entry.digest_file)
        for _ in reader.blocks():  # Reading to the end proves the digest's own hash.
            pass
    return reader.summary


def _compare(backup: StoredBackup, entry: CollectionEntry, digested: Digested) -> None:
    summary = digested.summary
    if entry.content and summary.content != entry.content:
        raise IntegrityFailed("its points are not those of the manifest", why=f"{summary.points} points were read")
    if entry.digest_file and held_digest(backup, entry).content != summary.content:
        raise IntegrityFailed("its points are not those of its digest")
    if not entry.content and summary.points != entry.records:
        raise IntegrityFailed(f"the manifest says {entry.records} records, the snapshot holds {summary.points}")


def _note(verdict: Verdict, ports: Ports) -> None:
    if verdict.damage:
        try_to_remember(ports, verdict.backup, Level.FILES, failed=verdict.damage[0])
    elif verdict.unjudged:
        try_to_remember(ports, verdict.backup, Level.ARCHIVE)
    else:
        try_to_remember(ports, verdict.backup, verdict.level)
