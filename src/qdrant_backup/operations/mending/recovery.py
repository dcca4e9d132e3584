"""A recovery from its journal: carried out, finished after a kill, or taken back.

Everything that is needed stands in the journal and its points file, so none of this looks at the backup.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionFailed, QdrantBackupError, RefusedForSafety
from qdrant_backup.operations.events import Warned
from qdrant_backup.operations.mending.carry_out import Done, changed_since, take_back, write
from qdrant_backup.storage.journal import JournalFile, TargetState
from qdrant_backup.storage.points_file import PointsFile

if TYPE_CHECKING:
    from collections.abc import Generator

    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.journal import Journal, RestoreRecord

__all__ = ["needed_points", "put_back_unfinished", "run", "sweep_points", "undo_recovery"]

_MOST_NAMED = 5
_ABANDONED_S = 86400.0


def points_of(ports: Ports, journal: Journal) -> PointsFile:
    """The journal's points, compared with its checksum; raises `IntegrityFailed` as `PointsFile.require` does."""
    file = PointsFile(ports.directory.root, journal.restore_id)
    file.require(journal.options["points_sha256"])
    return file


@contextlib.contextmanager
def _or_put_back(ports: Ports, journal: Journal) -> Generator[None, None, None]:
    """When the block fails, everything it wrote is taken back before the error goes on."""
    try:
        yield
    except BaseException as failure:
        try:
            put_back_unfinished(ports, journal)
        except QdrantBackupError as error:
            raise CollectionFailed(
                "The recovery failed, and could not be taken back",
                why=f"{failure}; then {error}",
                advice=f"When the server answers again, run `qdrant-backup undo --yes --output {ports.directory.root}`.",
            ) from failure
        raise


def needed_points(ports: Ports) -> set[str]:
    """The recoveries whose points file is still worked from: the open one, and those that can be undone."""
    file = JournalFile(ports.directory.root, ports.clock)
    left = file.read()
    return {record.journal.restore_id for record in file.records()} | ({left.restore_id} if left else set())


def sweep_points(ports: Ports) -> None:
    """Remove points files that a killed run left before it wrote anything; a young one may be of a run that asks now."""
    needed = needed_points(ports)
    border = ports.clock.now().timestamp() - _ABANDONED_S
    for name in PointsFile.names(ports.directory.root):
        file = PointsFile(ports.directory.root, name)
        if name not in needed and file.path.stat().st_mtime < border:
            file.remove()


def run(ports: Ports, journal: Journal) -> Done:
    """Carry a recovery out, from wherever it stands; the caller holds the directory's lock.

    Raises:
        QdrantBackupError: it failed, and everything was put back.
        CollectionFailed: it failed, and could not be put back.
    """
    file = JournalFile(ports.directory.root, ports.clock)
    with _or_put_back(ports, journal):
        done = write(ports.server, points_of(ports, journal).read())
    if done.kept:
        ports.tell(Warned(f"{_named(done.kept)} changed meanwhile, and stayed as somebody else left it"))
    verified = tuple(target.collection for target in journal.targets)
    for name in verified:
        journal = journal.with_target(name, state=TargetState.VERIFIED)
    file.close(journal.but(committed_at=ports.clock.now()))
    return done


def put_back_unfinished(ports: Ports, journal: Journal) -> Done:
    """Make every point what it was before, and forget the recovery: its journal was never closed."""
    done = take_back(ports.server, points_of(ports, journal).read())
    if done.kept:
        ports.tell(Warned(f"{_named(done.kept)} changed since, and stays as somebody else left it"))
    JournalFile(ports.directory.root, ports.clock).drop()
    PointsFile(ports.directory.root, journal.restore_id).remove()
    return done


def undo_recovery(ports: Ports, record: RestoreRecord, *, force: bool) -> Done:
    """Take back a recovery that had ended: what it overwrote is put back, what it added deleted.

    Raises:
        RefusedForSafety: points were written since, and `force` does not let them go. Nothing was changed then.
        IntegrityFailed: what was kept of the previous points is damaged.
    """
    points = points_of(ports, record.journal)
    changed = changed_since(ports.server, points.read())
    if changed and not force:
        raise RefusedForSafety(
            f"The recovery {record.journal.restore_id} is not undone",
            why=f"since then {_named(changed)} changed, and undoing would take that back too",
            advice="If it may go, use --force-changes: those points become what they were before the recovery.",
        )
    if changed:
        ports.tell(Warned(f"undone all the same (--force-changes): {_named(changed)} changed since"))
    done = take_back(ports.server, points.read(), force=force)
    if done.kept:
        raise RefusedForSafety(
            f"The recovery {record.journal.restore_id} is only partly undone",
            why=f"{_named(done.kept)} changed while it was undone",
            advice="Stop the writers and run it again.",
        )
    JournalFile(ports.directory.root, ports.clock).consume(record)
    points.remove()
    return done


def _named(points: tuple[tuple[str, int | str], ...] | list[tuple[str, int | str]]) -> str:
    names = ", ".join(f"{point_id} of {name}" for name, point_id in points[:_MOST_NAMED])
    more = len(points) - _MOST_NAMED
    return f"point {names}" if more <= 0 else f"point {names} and {more} more"
