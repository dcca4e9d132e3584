"""Everything put back: what a failed, interrupted or abandoned restore ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionFailed, Locked, QdrantBackupError, RefusedForSafety
from qdrant_backup.layout import safety_name
from qdrant_backup.model import BackupId
from qdrant_backup.operations.events import Note, OutcomeKnown, Warned
from qdrant_backup.operations.restore.aliases import put_aliases_back
from qdrant_backup.operations.restore.live import fingerprint
from qdrant_backup.operations.restore.outcome import Outcome, TargetReport
from qdrant_backup.operations.restore.putting_back import Earlier, put_back
from qdrant_backup.operations.restore.safety import copy_now
from qdrant_backup.operations.restore.source import source_of
from qdrant_backup.storage.journal import TargetState
from qdrant_backup.storage.stored import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.restore.checks import Judged
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.operations.restore.source import Archive
    from qdrant_backup.storage.journal import Target

__all__ = ["OrRollBack", "earlier_states", "keep_changes", "roll_back", "undo_command"]


def undo_command(session: Session) -> str:
    """What to type to have everything put back."""
    return f"qdrant-backup undo --yes --output {session.ports.directory.root}"


def safety_directory(session: Session) -> Path:
    """Where the journal's safety backup lies, also after the backup directory was moved."""
    return session.ports.directory.root / safety_name(session.journal.safety_id or BackupId(""))


def earlier_states(session: Session) -> dict[CollectionName, Earlier]:
    """Each target before the restore, with its archive in the safety copy, which is verified byte by byte.

    Raises:
        IntegrityFailed, BackupInvalid: the safety copy is damaged or gone.
    """
    journal = session.journal
    archives: Mapping[CollectionName, Archive] = {}
    existed = [target.collection for target in journal.targets if target.prior.existed]
    if journal.safety_id is not None and existed:
        backup = load(safety_directory(session))
        held = [name for name in existed if name in backup.manifest.collections]
        archives = source_of(session.ports, backup, held, aloud=False).archives
    return {target.collection: Earlier(target.prior, archives.get(target.collection)) for target in journal.targets}


def _changed_by_others(session: Session, target: Target, judged: Judged) -> bool:
    if target.content_after and judged.content:
        return judged.content != target.content_after
    if target.versions_after is not None:
        return fingerprint(session.ports, target.collection) != target.versions_after
    if session.resumed and judged.content:
        return judged.content not in {target.content_expected, target.prior.content}
    return False


def keep_changes(session: Session, name: CollectionName) -> Callable[[Judged], str]:
    """For `put_back`: back up what others have written since the restore had finished with the collection."""

    def keep(judged: Judged) -> str:
        target = session.target(name)
        if target.displaced_id is not None or not _changed_by_others(session, target, judged):
            return ""
        session.tell(Note(f"{name}: it was changed after the restore began, keeping a copy of that first"))
        backup = copy_now(session.ports, [name])
        session.mark(name, displaced_id=backup.backup_id)
        points = backup.manifest.collections[name].records
        return f"it was changed by others since; those {points} points are kept in {backup.path}"

    return keep


def _touched(target: Target) -> bool:
    return bool(target.steps)


def _one(session: Session, name: CollectionName, earlier: Earlier) -> TargetReport:
    target = session.target(name)
    if target.state is TargetState.ROLLED_BACK and _touched(target):
        return TargetReport(name, target.source, Outcome.PREVIOUS if target.prior.existed else Outcome.GONE)
    if not _touched(target):
        session.mark(name, state=TargetState.ROLLED_BACK)
        return TargetReport(name, target.source, Outcome.UNTOUCHED, target.prior.points or 0)
    try:
        done = put_back(session, name, earlier, before_losing=keep_changes(session, name))
    except QdrantBackupError as error:
        note = str(error) if not error.advice else f"{error}. {error.advice}"
        session.mark(name, state=TargetState.NOT_RESTORED, note=note)
        return TargetReport(name, target.source, Outcome.NOT_RESTORED, note=note)
    session.mark(name, state=TargetState.ROLLED_BACK, note=done.note)
    unverified = done.judged.unverified if target.prior.existed else ""
    return TargetReport(name, target.source, done.outcome, target.prior.points or 0, unverified, done.note)


def roll_back(session: Session) -> list[TargetReport]:
    """Put everything back that the journal says was touched, and close the journal when nothing is in doubt.

    Collections that existed come first, then aliases, then those that did not exist are deleted, so that an alias never
    points at nothing. One target that cannot be put back does not keep the others from it.
    """
    session.reload()
    session.update(rolling_back=True)
    try:
        states = earlier_states(session)
    except QdrantBackupError as error:
        session.tell(Warned(f"the safety copy cannot be used: {error}"))
        states = {target.collection: Earlier(target.prior, None) for target in session.journal.targets}
    reports: dict[CollectionName, TargetReport] = {}
    for name, earlier in states.items():
        if earlier.prior.existed:
            reports[name] = _one(session, name, earlier)
    notes = _aliases_back(session, reports)
    for name, earlier in states.items():
        if not earlier.prior.existed:
            reports[name] = _one(session, name, earlier)
    for note in notes:
        session.tell(Warned(note))
    ordered = [reports[target.collection] for target in session.journal.targets]
    _say(session, ordered)
    if not _may_be_mended(session):
        session.file.consume(session.file.close(session.journal))
    return ordered


def _may_be_mended(session: Session) -> bool:
    """Whether a later `undo` has anything to work with: a target in doubt, and what would bring it back.

    Without a safety backup (`--no-safety`) an open journal would only stand in the way of restoring something else.
    """
    kept = session.journal.safety_id is not None
    return any(
        target.state is TargetState.NOT_RESTORED and (kept or not target.prior.existed)
        for target in session.journal.targets
    )


def _aliases_back(session: Session, reports: dict[CollectionName, TargetReport]) -> tuple[str, ...]:
    if not any(_touched(target) for target in session.journal.targets):
        return ()
    try:
        return put_aliases_back(session)
    except QdrantBackupError as error:
        # An alias in doubt keeps the journal open, so that `undo` comes back to it.
        name = session.journal.targets[0].collection
        reason = f"the aliases could not be put back: {error}"
        session.mark(name, state=TargetState.NOT_RESTORED, note=reason)
        reports[name] = TargetReport(name, session.target(name).source, Outcome.NOT_RESTORED, note=reason)
        return (reason,)


def _say(session: Session, reports: list[TargetReport]) -> None:
    for report in reports:
        session.tell(OutcomeKnown(report.target, report.outcome.value))
    if not session.settled():
        session.tell(Warned(not_restored_text(session, reports)))


def not_restored_text(session: Session, reports: list[TargetReport]) -> str:
    """What is lost for now, where it is, and what to type."""
    lost = [report for report in reports if report.outcome is Outcome.NOT_RESTORED]
    names = ", ".join(report.target for report in lost)
    reasons = "; ".join(f"{report.target}: {report.note}" for report in lost)
    if session.journal.safety_id is not None:
        where = f"The safety backup is {safety_directory(session)}. "
    else:
        where = "There is no safety backup. "
    todo = f"Run `{undo_command(session)}` once the cause is gone."
    if not _may_be_mended(session):
        todo = "Restore another backup: `qdrant-backup list` shows them."
    return f"{names}: NOT RESTORED ({reasons}). {where}{todo}"


class OrRollBack:
    """A context in which everything is done, or everything is put back, however it is left.

    Raises:
        CollectionFailed: from leaving it after a failure, with each target's outcome; a refusal of ours and an interrupt
            keep their class.
    """

    def __init__(self, session: Session, what: str) -> None:
        self._session = session
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        session = self._session
        if isinstance(error, Locked) or not session.lock.still_held():
            session.tell(
                Warned(f"nothing was put back, since another run may be at work. Later run `{undo_command(session)}`")
            )
            return
        if isinstance(error, QdrantBackupError):
            session.tell(Warned(f"{self._what} failed ({error}); putting everything back"))
        reports = self._put_back(error)
        if isinstance(error, QdrantBackupError):
            failure = self._failure(error, reports)
            if failure is not error:
                raise failure from error

    def _put_back(self, error: BaseException) -> list[TargetReport]:
        try:
            return roll_back(self._session)
        except QdrantBackupError as second:
            raise CollectionFailed(
                f"{self._what} failed, and so did putting everything back",
                why=f"{error}; then {second}",
                advice=f"{second.advice} Then run `{undo_command(self._session)}`.".strip(),
                stage="rollback",
            ) from error

    def _failure(self, error: QdrantBackupError, reports: list[TargetReport]) -> QdrantBackupError:
        settled = all(report.outcome is not Outcome.NOT_RESTORED for report in reports)
        outcomes = tuple((report.target, report.outcome.value) for report in reports)
        told = "; ".join(f"{report.target}: {_worded(report)}" for report in reports)
        if settled and isinstance(error, RefusedForSafety):
            error.advice = f"{error.advice} Everything is as it was before ({told})."
            error.outcomes = outcomes
            return error
        if settled:
            advice = f"Everything is as it was before ({told}). {error.advice}".strip()
        else:
            advice = f"{told}. {not_restored_text(self._session, reports)}"
        where = f" at {error.collection}" if error.collection else ""
        failure = CollectionFailed(
            f"{self._what} failed{where}", why=str(error), advice=advice, stage="apply", collection=error.collection
        )
        failure.outcomes = outcomes
        return failure


def _worded(report: TargetReport) -> str:
    extra = f" ({report.note})" if report.note and report.outcome is not Outcome.NOT_RESTORED else ""
    unverified = " (content unverified)" if report.unverified else ""
    return f"{report.outcome.value}{unverified}{extra}"
