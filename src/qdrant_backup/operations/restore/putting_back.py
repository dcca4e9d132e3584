"""Back to an exact earlier state: rolling back and undoing are this, one collection at a time.

It looks first. After an upload that failed for lack of disk the old data is intact, and further uploads would fail for
the same lack: a target whose content equals its safety copy is untouched, and nothing is uploaded to it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import CollectionFailed, QdrantBackupError
from qdrant_backup.operations.restore.applying import await_upload, drop, remove_uploads, upload
from qdrant_backup.operations.restore.checks import (
    Judged,
    judge,
    mend_indexes,
    require_config,
    require_content,
    same_config,
)
from qdrant_backup.operations.restore.live import fingerprint, look, settle, wait_until_whole
from qdrant_backup.operations.restore.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.restore.live import Live
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.operations.restore.source import Archive
    from qdrant_backup.storage.journal import Prior

__all__ = ["Earlier", "PutBack", "put_back"]


@dataclasses.dataclass(frozen=True)
class Earlier:
    """The state to come back to.

    Attributes:
        prior: config, payload schema, content and versions, or that nothing was there.
        archive: the safety copy; None where nothing was there, or none was taken.
    """

    prior: Prior
    archive: Archive | None

    @property
    def config(self) -> dict[str, Any]:
        """The raw config."""
        return self.prior.config or {}

    @property
    def payload_schema(self) -> dict[str, Any]:
        """The payload indexes."""
        return self.prior.payload_schema or {}


@dataclasses.dataclass(frozen=True)
class PutBack:
    """What was done and found."""

    outcome: Outcome
    judged: Judged = dataclasses.field(default_factory=Judged)
    note: str = ""


def put_back(
    session: Session,
    name: CollectionName,
    earlier: Earlier,
    *,
    before_losing: Callable[[Judged], str] = lambda _: "",
) -> PutBack:
    """Make the collection what it was, verify it, and say what that took.

    Args:
        session: whose journal has the collection among its targets.
        name: the collection.
        earlier: what it was.
        before_losing: called with what is there now before that is overwritten or deleted, where it is readable and is
            not what is wanted; keeps it if it must be kept, and returns a note for the report.

    Raises:
        QdrantBackupError: it could not be made so. What it holds now is unknown.
    """
    await_upload(session, name)
    settle(session.ports, name)
    remove_uploads(session, name)
    now = look(session.ports, name)
    if not earlier.prior.existed:
        return _remove(session, name, now, before_losing)
    judged = judge(session.ports, name) if now.info is not None else Judged(unverified=now.broken)
    data_intact = _is_intact(session, name, earlier, now, judged)
    if data_intact and now.info is not None and same_config(earlier.config, now.info.config):
        mend_indexes(session, name, earlier.payload_schema, exactly=True)
        return PutBack(Outcome.UNTOUCHED, judged)
    note = before_losing(judged) if now.info is not None and not data_intact else ""
    return _replace(session, name, earlier, _Found(now, judged), note)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What stands there before it is put back."""

    live: Live
    judged: Judged

    @property
    def may_be_dropped(self) -> bool:
        """Whether dropping it surely loses nothing of value: it is broken, or its content is known to be another.

        What nobody could read may be the very content that is wanted. A server whose disk is full can neither make the
        snapshot that would prove it nor take the upload that would replace it.
        """
        return self.live.info is None or bool(self.judged.content)


def _is_intact(session: Session, name: CollectionName, earlier: Earlier, now: Live, judged: Judged) -> bool:
    prior = earlier.prior
    if now.info is None:
        return False
    if prior.content and judged.content:
        return judged.content == prior.content
    # Nobody could judge the content then or can now: that no segment has a later version is the next best proof.
    return prior.versions is not None and fingerprint(session.ports, name) == prior.versions


def _remove(session: Session, name: CollectionName, now: Live, before_losing: Callable[[Judged], str]) -> PutBack:
    if not now.exists:
        return PutBack(Outcome.GONE)
    note = before_losing(judge(session.ports, name)) if now.info is not None else ""
    drop(session, name)
    return PutBack(Outcome.GONE, note=note)


def _replace(session: Session, name: CollectionName, earlier: Earlier, found: _Found, note: str) -> PutBack:
    now = found.live
    if earlier.archive is None:
        raise CollectionFailed(
            f"{name} cannot be put back",
            why="it has changed, and there is no safety backup of it that could be used",
            advice="Restore it from another backup: `qdrant-backup list` shows them.",
            collection=name,
        )
    other_config = now.info is not None and not same_config(earlier.config, now.info.config)
    if now.exists and not other_config:
        try:
            return PutBack(Outcome.PREVIOUS, _uploaded(session, name, earlier, earlier.archive), note)
        except QdrantBackupError:
            settle(session.ports, name)
            now = look(session.ports, name)
            if now.info is not None and not found.may_be_dropped:
                raise
            # What stands there may be what the upload fails on: once more, from nothing.
    if now.exists:
        drop(session, name)
    return PutBack(Outcome.PREVIOUS, _uploaded(session, name, earlier, earlier.archive), note)


def _uploaded(session: Session, name: CollectionName, earlier: Earlier, archive: Archive) -> Judged:
    upload(session, name, archive, action="put_back")
    wait_until_whole(session.ports, name)
    mend_indexes(session, name, earlier.payload_schema, known={}, exactly=True)
    require_config(session, name, earlier.config)
    return require_content(session.ports, name, archive)
