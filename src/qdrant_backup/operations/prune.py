"""`prune`: the guide's rotation made safe.

    survey   the backups of the directory, and which are pinned
    plan     which go and which stay, each with its reason    pure
    run      deletes, one backup after the other

Only what is older than the days asked for goes, and never the newest good backup of a collection of a server. Good means:
every byte was read and matches, now; one that is dated in the future does not count. A backup in which a collection has shrunk to less than half does not take the place
of the last larger one: both stay. What is no valid backup is not touched.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

from qdrant_backup.errors import RefusedForSafety
from qdrant_backup.operations.anomaly import suspects
from qdrant_backup.operations.expiry import expire_safety
from qdrant_backup.operations.listing import listed
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.takeover import tell_of_dead_run
from qdrant_backup.storage.catalogue import CatalogueFile
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.verify import check_files

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from qdrant_backup.model import BackupId
    from qdrant_backup.operations.anomaly import Suspect
    from qdrant_backup.operations.listing import Listed
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["Fate", "PrunePlan", "Pruned", "plan", "prune", "prune_plan", "remedy"]

_SHRUNKEN = 2


@dataclasses.dataclass(frozen=True)
class Fate:
    """What becomes of one backup, and why.

    Attributes:
        needed: it stays whatever the policy says, so its bytes must be good.
    """

    backup: StoredBackup
    stays: bool
    reason: str
    needed: bool = False


@dataclasses.dataclass(frozen=True)
class PrunePlan:
    """What becomes of every backup, newest first.

    Attributes:
        untouched: directories that look like backups and are none.
        waiting: backups that look like a loss; while there are any, nothing is deleted.
    """

    fates: tuple[Fate, ...]
    untouched: tuple[Path, ...] = ()
    waiting: tuple[Suspect, ...] = ()

    @property
    def doomed(self) -> tuple[StoredBackup, ...]:
        """The backups that go, oldest first, so that a run that is ended half-way leaves the newer ones."""
        return tuple(fate.backup for fate in reversed(self.fates) if not fate.stays)

    @property
    def freed_bytes(self) -> int:
        """What they take."""
        return sum(backup.size_bytes for backup in self.doomed)


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What went: backups, and safety backups of ended restores."""

    deleted: tuple[BackupId, ...] = ()
    expired: tuple[BackupId, ...] = ()


def plan(
    entries: Sequence[Listed], *, now: datetime, keep_days: int, damaged: Collection[BackupId] = frozenset()
) -> PrunePlan:
    """Decide what goes.

    Args:
        entries: the backups, newest first.
        now: aware UTC.
        keep_days: what is younger than so many days stays; 0 keeps only what the floor keeps.
        damaged: ids of backups whose bytes were read and do not match; they never count as good.
    """
    border = now - timedelta(days=keep_days)
    # A clock that once stood in the future must not make its backup the newest one for years.
    good = [
        entry.backup
        for entry in entries
        if entry.backup.is_whole and entry.backup.backup_id not in damaged and entry.backup.finished_at <= now
    ]
    floor = _floor(good)
    return PrunePlan(tuple(_fate(entry, border, floor.get(entry.backup.backup_id), damaged) for entry in entries))


def _fate(entry: Listed, border: datetime, needed: str | None, damaged: Collection[BackupId]) -> Fate:
    backup = entry.backup
    if needed:
        return Fate(backup, stays=True, reason=needed, needed=True)
    if entry.pinned:
        return Fate(backup, stays=True, reason=f"pinned: {entry.pinned}")
    if not backup.is_whole or backup.backup_id in damaged:
        return Fate(backup, stays=True, reason="damaged: not counted, and left for you to look at")
    if backup.finished_at > border:
        return Fate(backup, stays=True, reason="young enough")
    return Fate(backup, stays=False, reason="older than the days to keep")


def _floor(good: Sequence[StoredBackup]) -> dict[BackupId, str]:
    """Which backups must stay whatever the policy, with the reason; `good` is newest first."""
    needed: dict[BackupId, str] = {}
    kept_records: dict[tuple[str, int, str], int] = {}
    for backup in good:
        manifest = backup.manifest
        for name, entry in manifest.collections.items():
            key = (manifest.qdrant_host, manifest.qdrant_port, name)
            if key not in kept_records:
                needed.setdefault(backup.backup_id, f"the newest good backup of {name}")
                kept_records[key] = entry.records
            elif entry.records > _SHRUNKEN * kept_records[key]:
                needed.setdefault(backup.backup_id, f"{name} has shrunk since to less than half")
                kept_records[key] = entry.records
    return needed


def prune_plan(ports: Ports, keep_days: int) -> PrunePlan:
    """Survey and plan: the floor's backups are read byte by byte, and one that fails gives its place to an older one.

    Raises:
        IntegrityFailed: the catalogue is damaged; pins stand in it, so nothing may be deleted without it.
    """
    found = ports.directory.survey()
    catalogue = CatalogueFile(ports.directory.root).read()
    entries = [listed(backup, catalogue) for backup in found.backups]
    damaged: set[BackupId] = set()
    sound: set[BackupId] = set()
    while True:
        decided = plan(entries, now=ports.clock.now(), keep_days=keep_days, damaged=damaged)
        unread = [fate.backup for fate in decided.fates if fate.needed and fate.backup.backup_id not in sound | damaged]
        # Only where something is to go does it matter whether what stays is good.
        if not decided.doomed or not unread:
            untouched = tuple(invalid.path for invalid in found.invalid)
            return dataclasses.replace(decided, untouched=untouched, waiting=_waiting(ports))
        for backup in unread:
            damage = any(finding.is_damage for finding in check_files(backup, ports.progress))
            (damaged if damage else sound).add(backup.backup_id)


def _waiting(ports: Ports) -> tuple[Suspect, ...]:
    return tuple(suspect for suspect in suspects(ports) if not suspect.accepted)


def remedy(suspect: Suspect) -> str:
    """What to do about a backup that looks like a loss."""
    return (
        f"Look at it with `qdrant-backup diff {suspect.previous} {suspect.backup_id}`; if all is well, "
        f"`qdrant-backup anomaly accept {suspect.backup_id}`."
    )


def _wait_for_a_person(ports: Ports) -> None:
    """Delete nothing while a backup looks like a loss: the older ones may be all that is left."""
    waiting = _waiting(ports)
    if waiting:
        raise RefusedForSafety(
            f"nothing is deleted: backup {waiting[0].backup_id} looks like a loss",
            why="; ".join(waiting[0].findings),
            advice=remedy(waiting[0]),
        )


def prune(ports: Ports, decided: PrunePlan) -> Pruned:
    """Carry the plan out, and let the safety backups of ended restores go whose days are over.

    Raises:
        Locked: another run is at work.
        RefusedForSafety: a restore has not ended, and may need what is here; or a backup looks like a loss, and nobody
            has accepted it.
        NotWritable: a backup could not be deleted; the ones before it are gone.
    """
    with DirectoryLock(ports.directory.root, ports.clock, "prune") as lock:
        refuse_open_journal(ports)
        _wait_for_a_person(ports)
        tell_of_dead_run(ports, lock)
        ports.directory.sweep(lock)
        for backup in decided.doomed:
            ports.directory.remove(backup, lock)
        expired = expire_safety(ports, lock, ports.safety_days)
        file = CatalogueFile(ports.directory.root)
        everything = (*ports.directory.survey().backups, *ports.directory.survey(safety=True).backups)
        file.write(file.read().only(backup.backup_id for backup in everything))
    return Pruned(tuple(backup.backup_id for backup in decided.doomed), expired)
