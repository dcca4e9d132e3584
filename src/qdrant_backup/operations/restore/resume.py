"""`resume`: finish a restore that was killed, from its own journal, its own backup and its own safety copy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.errors import IntegrityFailed, NotUndoable, RefusedForSafety
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.mending.carry_out import Done
from qdrant_backup.operations.mending.recovery import run as run_recovery
from qdrant_backup.operations.restore.aliases import move_aliases
from qdrant_backup.operations.restore.checks import judge
from qdrant_backup.operations.restore.forward import apply_all
from qdrant_backup.operations.restore.live import settle
from qdrant_backup.operations.restore.outcome import Outcome, RestoreReport, TargetReport
from qdrant_backup.operations.restore.rollback import OrRollBack, earlier_states, undo_command
from qdrant_backup.operations.restore.run import report_of
from qdrant_backup.operations.restore.session import Session, require_same_server
from qdrant_backup.operations.restore.source import source_of
from qdrant_backup.operations.restore.undo import continue_undo, finish_committed, report_of_recovery
from qdrant_backup.storage.journal import JournalFile, RestoreKind, TargetState
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.stored import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.source import Archive
    from qdrant_backup.storage.journal import Journal

__all__ = ["ResumePlan", "plan_resume", "resume"]


@dataclasses.dataclass(frozen=True)
class ResumePlan:
    """What `resume` would do: finish this restore; `states` are (collection, state) pairs."""

    restore_id: str
    kind: str
    backup_path: str
    safety_path: str
    started_at: str
    states: tuple[tuple[str, str], ...]


def _left(file: JournalFile) -> Journal:
    journal = file.read()
    if journal is None:
        raise NotUndoable(
            "There is nothing to resume",
            why=f"no restore is unfinished in {file.path.parent}",
            advice="Name the backup directory of the restore with --output.",
        )
    return journal


def plan_resume(ports: Ports) -> ResumePlan:
    """What `resume` would do, without asking the server.

    Raises:
        NotUndoable: no restore is unfinished.
    """
    journal = _left(JournalFile(ports.directory.root, ports.clock))
    return ResumePlan(
        journal.restore_id,
        journal.kind.value,
        journal.backup_path,
        journal.safety_path,
        journal.started_at.isoformat(),
        tuple((target.collection, target.state.value) for target in journal.targets),
    )


def resume(ports: Ports) -> RestoreReport:
    """Finish the unfinished restore, or put everything back.

    Raises:
        NotUndoable: no restore is unfinished.
        RefusedForSafety: another server; or its roll-back has begun, so that only `undo` is left.
        IntegrityFailed: the backup was changed since the restore began.
        CollectionFailed: it failed, and everything was put back or the outcomes say what was not.
    """
    with DirectoryLock(ports.directory.root, ports.clock, "resume") as lock:
        journal = _left(JournalFile(ports.directory.root, ports.clock))
        session = Session(ports, lock, journal, resumed=True)
        _require_resumable(session)
        require_same_server(ports, journal.server, "resume it")
        if journal.kind is RestoreKind.RECOVER:
            return _resume_recovery(session)
        ports.directory.sweep(lock)
        remove_left_behind(ports)
        for target in journal.targets:
            settle(ports, target.collection)
        if journal.kind is RestoreKind.UNDO:
            return _resume_undo(session)
        archives = _archives(session)
        if journal.committed_at is None:
            earlier_states(session)
            _require_expected(session)
            with OrRollBack(session, "The resumed restore"):
                apply_all(session, archives)
                move_aliases(session)
        session.commit()
        return report_of(session, archives)


def _resume_recovery(session: Session) -> RestoreReport:
    if session.journal.committed_at is not None:
        session.commit()
        return report_of_recovery(session.journal, Done({}), Outcome.NEW)
    return report_of_recovery(session.journal, run_recovery(session.ports, session.journal), Outcome.NEW)


def _require_resumable(session: Session) -> None:
    journal = session.journal
    if journal.rolling_back and journal.committed_at is None:
        raise RefusedForSafety(
            f"The {journal.kind.value} {journal.restore_id} cannot be resumed",
            why="it failed, and putting everything back has begun",
            advice=f"Run `{undo_command(session)}` to finish that.",
        )


def _archives(session: Session) -> Mapping[CollectionName, Archive]:
    """The backup's archives, verified again; it must be the very backup that the restore began with."""
    journal = session.journal
    backup = load(Path(journal.backup_path))
    if backup.manifest_sha256 != journal.manifest_sha256:
        raise IntegrityFailed(
            f"{journal.backup_path} is not the backup that the restore began with",
            why="its manifest has changed",
            advice=f"Run `{undo_command(session)}` to put everything back.",
        )
    return source_of(session.ports, backup, [target.source for target in journal.targets]).archives


def _require_expected(session: Session) -> None:
    """What the restore had finished, and what it had not begun, must be as it left it: else it is not the same server.

    Raises:
        RefusedForSafety: a collection is not as the journal says.
    """
    for target in session.journal.targets:
        name = target.collection
        exists = session.ports.server.exists(name)
        why = ""
        if target.state is TargetState.VERIFIED:
            if not exists:
                why = "it was restored, and is not there"
            elif target.content_after and judge(session.ports, name).content != target.content_after:
                why = "it was restored, and holds something else now"
        elif not target.steps and exists != target.prior.existed:
            why = "it was not there before, and is now" if exists else "it was there before, and is not now"
        if why:
            raise RefusedForSafety(
                f"The restore {session.journal.restore_id} is not resumed: {name} is not as it left it",
                why=f"{why}: another server answers here, or somebody has changed it",
                advice=f"Check QDRANT_URL. `{undo_command(session)}` puts everything back and keeps such changes in a copy.",
                collection=name,
            )


def _resume_undo(session: Session) -> RestoreReport:
    for record in session.file.records():
        if record.journal.restore_id == session.journal.undoes:
            return continue_undo(session, record)
    if session.journal.committed_at is not None:
        finish_committed(session)
        return report_of_undo(session)
    raise NotUndoable(
        f"The undo {session.journal.restore_id} cannot be resumed",
        why=f"the record of the restore {session.journal.undoes} is gone",
        advice=f"Run `{undo_command(session)}` to put back what was there before the undo.",
    )


def report_of_undo(session: Session) -> RestoreReport:
    """The report of an undo that had been carried out before it was killed."""
    journal = session.journal
    return RestoreReport(
        journal.restore_id,
        journal.backup_path,
        tuple(TargetReport(target.collection, target.source, Outcome.PREVIOUS) for target in journal.targets),
        aliases=tuple(journal.aliases_planned.items()),
        safety_path=journal.safety_path,
    )
