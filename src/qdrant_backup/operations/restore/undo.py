"""`undo`: an unfinished restore is put back; else the last one that ended is taken back, as a restore of its own.

Taking back a finished restore has its own safety copy and its own journal. It compares what is there with what the
restore left, so that it never silently loses what was written since.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionFailed, NotUndoable, QdrantBackupError, RefusedForSafety
from qdrant_backup.layout import backup_id_at, safety_name
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.events import CollectionRecovered, RestoreBegun, SnapshotUploaded, Warned
from qdrant_backup.operations.mending.recovery import put_back_unfinished, undo_recovery
from qdrant_backup.operations.restore.aliases import move_aliases
from qdrant_backup.operations.restore.applying import require_unmoved
from qdrant_backup.operations.restore.checks import judge
from qdrant_backup.operations.restore.live import fingerprint, look, settle
from qdrant_backup.operations.restore.outcome import Outcome, RestoreReport, TargetReport
from qdrant_backup.operations.restore.putting_back import Earlier, put_back
from qdrant_backup.operations.restore.requests import UndoRequest
from qdrant_backup.operations.restore.rollback import OrRollBack, not_restored_text, roll_back
from qdrant_backup.operations.restore.run import prior_of
from qdrant_backup.operations.restore.safety import require_judged, take_safety
from qdrant_backup.operations.restore.session import Session, require_same_server, who_answers
from qdrant_backup.operations.restore.source import source_of
from qdrant_backup.storage.journal import Journal, JournalFile, RestoreKind, Target, TargetState
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.stored import load

if TYPE_CHECKING:
    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.mending.carry_out import Done
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.source import Archive
    from qdrant_backup.storage.journal import RestoreRecord

__all__ = ["UndoPlan", "continue_undo", "finish_committed", "last_record", "plan_undo", "report_of_recovery", "undo"]

_DEFAULT = UndoRequest()


@dataclasses.dataclass(frozen=True)
class UndoPlan:
    """What `undo` would do.

    Attributes:
        restore_id: the restore that is taken back.
        unfinished: it never ended: its journal is open, and everything is put back as that says.
        restored: collections that get their previous content.
        removed: collections that the restore created, and that are deleted.
        aliases: aliases that are put back, with the collection (empty: the alias is removed).
        safety_path: where the previous content comes from; empty where none is needed.
        started_at: when the restore began, ISO 8601.
        kind: `restore`, or `recovery`: then single points get their previous content, or are deleted.
    """

    restore_id: str
    unfinished: bool
    restored: tuple[str, ...]
    removed: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    safety_path: str
    started_at: str
    kind: str = RestoreKind.RESTORE.value


def last_record(file: JournalFile) -> RestoreRecord:
    """The last restore that was committed and not undone, by the order of journals and never by dates.

    Raises:
        NotUndoable: there is none.
    """
    for record in file.records():
        if record.journal.kind is not RestoreKind.UNDO and record.journal.committed_at is not None:
            return record
    raise NotUndoable(
        "There is nothing to undo",
        why=f"no restore is recorded in {file.path.parent}, or all were undone or have expired",
        advice="Name the backup directory of the restore with --output; a safety backup still there can be restored by path.",
    )


def plan_undo(ports: Ports) -> UndoPlan:
    """What `undo` would do, without asking the server.

    Raises:
        NotUndoable: nothing.
        IntegrityFailed, Incompatible: the journal or a record cannot be read.
    """
    file = JournalFile(ports.directory.root, ports.clock)
    left = file.read()
    journal = left if left is not None else last_record(file).journal
    existed = tuple(target.collection for target in journal.targets if target.prior.existed)
    created = tuple(target.collection for target in journal.targets if not target.prior.existed)
    aliases = tuple((alias, journal.aliases_before.get(alias, "")) for alias in journal.aliases_planned)
    path = str(ports.directory.root / safety_name(journal.safety_id)) if journal.safety_id else ""
    started = journal.started_at.isoformat()
    return UndoPlan(journal.restore_id, left is not None, existed, created, aliases, path, started, journal.kind.value)


def undo(ports: Ports, request: UndoRequest = _DEFAULT) -> RestoreReport:
    """Put back what the unfinished, or else the last, restore replaced.

    Raises:
        NotUndoable: there is nothing to undo, or its safety backup is gone.
        RefusedForSafety: another server, or changes since the restore that would be lost.
        CollectionFailed: it failed; the outcomes say what each collection holds now.
    """
    with DirectoryLock(ports.directory.root, ports.clock, "undo") as lock:
        file = JournalFile(ports.directory.root, ports.clock)
        left = file.read()
        if left is not None and left.kind is RestoreKind.RECOVER:
            require_same_server(ports, left.server, "put the recovery back")
            if left.committed_at is None:
                return report_of_recovery(left, put_back_unfinished(ports, left), Outcome.PREVIOUS)
            file.close(left)
        elif left is not None and left.committed_at is None:
            return _put_back_unfinished(Session(ports, lock, left, resumed=True))
        elif left is not None:
            finish_committed(Session(ports, lock, left, resumed=True))
        record = last_record(file)
        require_same_server(ports, record.journal.server, "undo it")
        if record.journal.kind is RestoreKind.RECOVER:
            done = undo_recovery(ports, record, force=request.force_changes)
            return report_of_recovery(record.journal, done, Outcome.PREVIOUS)
        ports.directory.sweep(lock)
        remove_left_behind(ports)
        return _take_back(ports, lock, record, request)


def report_of_recovery(journal: Journal, done: Done, outcome: Outcome) -> RestoreReport:
    """What was done with single points, by collection; `records` counts them."""
    targets = tuple(
        TargetReport(target.collection, target.source, outcome, done.written.get(target.collection, 0))
        for target in journal.targets
    )
    return RestoreReport(journal.restore_id, journal.backup_path, targets)


def finish_committed(session: Session) -> None:
    """End a restore or undo that was killed between its commit and the last note about it."""
    if session.journal.kind is RestoreKind.UNDO:
        _consume_undone(session)
    session.commit()


def _consume_undone(session: Session) -> None:
    for record in session.file.records():
        if record.journal.restore_id == session.journal.undoes:
            session.file.consume(record)


# An unfinished restore ------------------------------------------------------------------------------------------------


def _put_back_unfinished(session: Session) -> RestoreReport:
    require_same_server(session.ports, session.journal.server, "put the restore back")
    remove_left_behind(session.ports)
    for target in session.journal.targets:
        settle(session.ports, target.collection)
    reports = roll_back(session)
    outcomes = tuple((report.target, report.outcome.value) for report in reports)
    if any(report.outcome is Outcome.NOT_RESTORED for report in reports):
        failure = CollectionFailed(
            "Not everything could be put back",
            why="; ".join(f"{target}: {outcome}" for target, outcome in outcomes),
            advice=not_restored_text(session, reports),
        )
        failure.outcomes = outcomes
        raise failure
    journal = session.journal
    return RestoreReport(journal.restore_id, journal.backup_path, tuple(reports), safety_path=journal.safety_path)


# The last restore that ended ------------------------------------------------------------------------------------------


def _earlier_of(ports: Ports, record: RestoreRecord) -> dict[CollectionName, Earlier]:
    """What to come back to, from the restore's safety backup, verified byte by byte."""
    journal = record.journal
    existed = [target.collection for target in journal.targets if target.prior.existed]
    archives: dict[CollectionName, Archive] = {}
    if existed:
        if journal.safety_id is None:
            raise NotUndoable(
                f"The restore {journal.restore_id} cannot be undone",
                why="it was made with --no-safety, so what it replaced was not kept",
                advice="Restore another backup: `qdrant-backup list` shows them.",
            )
        path = ports.directory.root / safety_name(journal.safety_id)
        if not path.exists():
            raise NotUndoable(
                f"The restore {journal.restore_id} cannot be undone any more",
                why=f"its safety backup {path} is gone",
                advice="Restore another backup: `qdrant-backup list` shows them.",
            )
        archives = dict(source_of(ports, load(path), existed, aloud=False).archives)
    return {target.collection: Earlier(target.prior, archives.get(target.collection)) for target in journal.targets}


def _changes_since(ports: Ports, record: RestoreRecord) -> list[str]:
    """What is not as the restore left it."""
    changes: list[str] = []
    for target in record.journal.targets:
        name = target.collection
        settle(ports, name)
        if not ports.server.exists(name):
            changes.append(f"{name} was deleted")
        elif not target.content_after:
            if target.versions_after is None or fingerprint(ports, name) != target.versions_after:
                changes.append(f"{name} may have been written to (its content cannot be judged)")
        elif judge(ports, name).content != target.content_after:
            changes.append(f"{name} was written to")
    now = ports.server.aliases()
    for alias, collection in record.journal.aliases_planned.items():
        if now.get(alias) != collection:
            changes.append(f"the alias {alias} was moved to {now.get(alias) or 'nothing'}")
    return changes


def _require_unchanged(ports: Ports, record: RestoreRecord, request: UndoRequest) -> None:
    changes = _changes_since(ports, record)
    if changes and not request.force_changes:
        raise RefusedForSafety(
            f"The restore {record.journal.restore_id} is not undone",
            why=f"since then {'; '.join(changes)}, and undoing would take that back too",
            advice="If it may go, use --force-changes: a safety backup keeps what is there now.",
        )
    for change in changes:
        ports.tell(Warned(f"undone all the same (--force-changes): {change}"))


def _take_back(ports: Ports, lock: DirectoryLock, record: RestoreRecord, request: UndoRequest) -> RestoreReport:
    states = _earlier_of(ports, record)
    _require_unchanged(ports, record, request)
    existing = [name for name in states if _can_be_copied(ports, name)]
    safety = take_safety(ports, lock, existing) if existing else None
    if safety is not None:
        for warning in require_judged(safety.backup, allow_unverified=request.allow_unverified):
            ports.tell(Warned(warning))
    undone = record.journal
    started = ports.clock.now()
    aliases = ports.server.aliases()
    targets = tuple(
        Target(
            collection=target.collection,
            source=target.collection,
            prior=prior_of(ports, target.collection, safety),
            state=TargetState.SAFE,
            content_expected=target.prior.content,
        )
        for target in undone.targets
    )
    journal = Journal(
        restore_id=f"{backup_id_at(started)}-{ports.token()[:8]}",
        kind=RestoreKind.UNDO,
        server=who_answers(ports),
        backup_id=undone.safety_id or undone.backup_id,
        backup_path=undone.safety_path,
        started_at=started,
        targets=targets,
        safety_id=safety.backup.backup_id if safety else None,
        safety_path=str(safety.backup.path) if safety else "",
        aliases_before={alias: str(collection) for alias, collection in aliases.items()},
        aliases_planned=_aliases_to_set(ports, undone),
        options={"allow_unverified": request.allow_unverified},
        undoes=undone.restore_id,
    )
    session = Session(ports, lock, JournalFile(ports.directory.root, ports.clock).begin(journal))
    return continue_undo(session, record, states)


def _can_be_copied(ports: Ports, name: CollectionName) -> bool:
    """Whether there is something to copy; a broken collection holds nothing that anybody could read."""
    now = look(ports, name)
    if now.broken:
        ports.tell(Warned(f"{name} is broken and cannot be copied first: {now.broken}"))
    return now.info is not None


def _aliases_to_set(ports: Ports, undone: Journal) -> dict[str, str]:
    """The aliases that the restore moved or may have lost, where they pointed before."""
    targets = {target.collection for target in undone.targets}
    coming_back = {target.collection for target in undone.targets if target.prior.existed}
    there = coming_back | set(ports.server.collections())
    before = undone.aliases_before
    hit = {alias for alias, collection in before.items() if collection in targets} | undone.aliases_planned.keys()
    wanted = {alias: before[alias] for alias in sorted(hit) if alias in before}
    for alias, collection in wanted.items():
        if collection not in there:
            ports.tell(Warned(f"the alias {alias} is not put back: its collection {collection} is gone"))
    return {alias: collection for alias, collection in wanted.items() if collection in there}


def continue_undo(
    session: Session, record: RestoreRecord, states: dict[CollectionName, Earlier] | None = None
) -> RestoreReport:
    """Take a restore back, from wherever its journal stands; everything is as before the undo when that fails."""
    ports = session.ports
    states = states or _earlier_of(ports, record)
    reports: dict[str, TargetReport] = {}
    with OrRollBack(session, "The undo"):
        for target in session.journal.targets:
            if states[target.collection].prior.existed:
                reports[target.collection] = _one(session, target.collection, states[target.collection])
        move_aliases(session)
        _remove_new_aliases(session, record)
        for target in session.journal.targets:
            if not states[target.collection].prior.existed:
                reports[target.collection] = _one(session, target.collection, states[target.collection])
    session.update(committed_at=ports.clock.now())
    finish_committed(session)
    journal = session.journal
    return RestoreReport(
        journal.restore_id,
        journal.backup_path,
        tuple(reports[target.collection] for target in journal.targets),
        aliases=tuple(journal.aliases_planned.items()),
        safety_path=journal.safety_path,
    )


def _one(session: Session, name: CollectionName, earlier: Earlier) -> TargetReport:
    points = earlier.prior.points or 0
    session.tell(RestoreBegun(name, name, points))
    if look(session.ports, name).exists and session.target(name).state is TargetState.SAFE:
        require_unmoved(session, name)
    try:
        done = put_back(session, name, earlier)
    except QdrantBackupError as error:
        raise error.at("undo", name) from None
    session.mark(
        name,
        state=TargetState.VERIFIED,
        content_after=done.judged.content,
        versions_after=fingerprint(session.ports, name) if earlier.prior.existed else None,
    )
    if done.outcome is Outcome.PREVIOUS:
        session.tell(SnapshotUploaded(name))
    if earlier.prior.existed:
        session.tell(CollectionRecovered(name, done.judged.unverified))
    return TargetReport(name, name, done.outcome, points, done.judged.unverified)


def _remove_new_aliases(session: Session, record: RestoreRecord) -> None:
    """Aliases that the restore created, where they still point at what it restored."""
    now = session.ports.server.aliases()
    for alias, collection in record.journal.aliases_planned.items():
        if alias not in record.journal.aliases_before and now.get(alias) == collection:
            owner = next(target.collection for target in session.journal.targets if target.collection == collection)
            with session.step(owner, "remove_alias", detail={"alias": alias}):
                session.ports.server.delete_alias(alias)
