"""Safety backups go some days after the restore they belong to was committed; never on the word of a clock that leapt."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

from qdrant_backup.storage.journal import JournalFile, RestoreKind
from qdrant_backup.storage.points_file import PointsFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from qdrant_backup.model import BackupId
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.lock import DirectoryLock

__all__ = ["expire_safety", "witnessed_age"]

_STEP = timedelta(days=1)


def witnessed_age(since: datetime, witnesses: Iterable[datetime], now: datetime) -> timedelta:
    """How much time has surely passed: from one witnessed moment to the next, a day at most for each step.

    A clock that leapt ahead adds one day, and time in which nothing ran is not counted in full: a safety backup may stay
    longer than it must, and never goes early. Zero when the clock stands before what it has witnessed.

    Args:
        since: the beginning.
        witnesses: moments that are known to have been, such as when backups were finished.
        now: what the clock says.
    """
    seen = sorted(moment for moment in witnesses if moment > since)
    if now < since or (seen and seen[-1] > now):
        return timedelta(0)
    moments = [since, *seen, now]
    steps = (min(later - earlier, _STEP) for earlier, later in itertools.pairwise(moments))
    return sum(steps, timedelta(0))


def expire_safety(ports: Ports, lock: DirectoryLock, days: int) -> tuple[BackupId, ...]:
    """Delete the safety backups of restores committed at least `days` days ago, with the records of those restores.

    Never one that the open journal names, or that is all that is left of a NOT RESTORED target. One that no record names
    (its restore changed nothing, or was undone) counts from when it was finished.

    Raises:
        IntegrityFailed: a journal or record is damaged; then nothing expires.
        Locked: the lock was lost.
    """
    file = JournalFile(ports.directory.root, ports.clock)
    protected = file.protected_ids()
    left = file.read()
    records = {record.journal.safety_id: record for record in file.records()}
    now = ports.clock.now()
    witnesses = [backup.finished_at for backup in ports.directory.entries()]
    gone: list[BackupId] = []
    for backup in ports.directory.survey(safety=True).backups:
        record = records.get(backup.backup_id)
        begun = record.journal.committed_at if record else backup.finished_at
        if backup.backup_id in protected or begun is None:
            continue
        if left is not None and left.undoes and record is not None and record.journal.restore_id == left.undoes:
            continue
        age = witnessed_age(begun, witnesses, now)
        if not age or age < timedelta(days=days):
            continue
        if record is not None:
            file.forget(record)
        ports.directory.remove(backup, lock)
        gone.append(backup.backup_id)
    _expire_recoveries(ports, file, witnesses, days)
    return tuple(gone)


def _expire_recoveries(ports: Ports, file: JournalFile, witnesses: Sequence[datetime], days: int) -> None:
    """The points that recoveries replaced go after as many days, with their records."""
    for record in file.records():
        begun = record.journal.committed_at
        if record.journal.kind is not RestoreKind.RECOVER or begun is None:
            continue
        if witnessed_age(begun, witnesses, ports.clock.now()) >= timedelta(days=days):
            file.forget(record)
            PointsFile(ports.directory.root, record.journal.restore_id).remove()
