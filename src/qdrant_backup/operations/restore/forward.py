"""Each target to its new content, one after the other; a target that has it already is passed over, so this resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.operations.events import CollectionRecovered, Note, RestoreBegun, SnapshotUploaded
from qdrant_backup.operations.restore.applying import (
    await_upload,
    drop,
    remove_uploads,
    require_free_names,
    require_unmoved,
    upload,
)
from qdrant_backup.operations.restore.checks import judge, mend_indexes, require_config, require_content
from qdrant_backup.operations.restore.live import fingerprint, look, settle, wait_until_whole
from qdrant_backup.operations.restore.rollback import keep_changes
from qdrant_backup.storage.journal import TargetState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.operations.restore.source import Archive

__all__ = ["apply_all"]

_BEGUN = frozenset({TargetState.APPLYING, TargetState.APPLIED})


def apply_all(session: Session, archives: Mapping[CollectionName, Archive]) -> None:
    """Apply and verify every target of the journal.

    Args:
        session: the run.
        archives: by the collection's name in the backup.

    Raises:
        QdrantBackupError: one could not be restored; the others are as the journal says.
    """
    for target in session.journal.targets:
        if target.state is TargetState.VERIFIED:
            continue
        archive = archives[target.source]
        session.tell(RestoreBegun(target.source, target.collection, archive.records))
        try:
            _one(session, target.collection, archive)
        except QdrantBackupError as error:
            error.at("apply", target.collection)
            raise


def _one(session: Session, name: CollectionName, archive: Archive) -> None:
    target = session.target(name)
    if target.state in _BEGUN:
        if not _already_there(session, name, archive):
            _again(session, name, archive)
    else:
        require_free_names(session.ports, name, existed=target.prior.existed)
        if target.prior.existed and not session.journal.options.get("allow_writers"):
            require_unmoved(session, name)
        if target.replace and target.prior.existed:
            drop(session, name)
        upload(session, name, archive)
    session.tell(SnapshotUploaded(name))
    _verify(session, name, archive)


def _already_there(session: Session, name: CollectionName, archive: Archive) -> bool:
    """After a kill: whether the upload that was under way has put the backup's content there all the same."""
    await_upload(session, name)
    settle(session.ports, name)
    now = look(session.ports, name)
    if now.info is None or not archive.content:
        return False
    judged = judge(session.ports, name)
    if judged.content == archive.content:
        remove_uploads(session, name)
        return session.target(name).replaced or not session.target(name).replace
    keep_changes(session, name)(judged)
    return False


def _again(session: Session, name: CollectionName, archive: Archive) -> None:
    session.tell(Note(f"{name}: the interrupted upload is repeated"))
    target = session.target(name)
    require_free_names(session.ports, name, existed=session.ports.server.exists(name))
    if target.replace and session.ports.server.exists(name):
        drop(session, name)
    upload(session, name, archive)


def _verify(session: Session, name: CollectionName, archive: Archive) -> None:
    target = session.target(name)
    ports = session.ports
    session.mark(name, versions_after=fingerprint(ports, name))
    wait_until_whole(ports, name)
    recreated = target.replaced or not target.prior.existed
    known = archive.payload_schema if recreated else target.prior.payload_schema or {}
    mend_indexes(session, name, archive.payload_schema, known=known, exactly=recreated)
    wanted = archive.config if recreated else target.prior.config
    if wanted is not None:  # Nobody could read the config of a target that was broken before.
        require_config(session, name, wanted)
    versions = fingerprint(ports, name)
    session.mark(name, versions_after=versions)
    allowed = bool(session.journal.options.get("allow_writers"))
    judged = require_content(ports, name, archive, excuse=lambda: allowed and fingerprint(ports, name) != versions)
    session.mark(
        name,
        state=TargetState.VERIFIED,
        content_after=judged.content,
        note=f"content unverified: {judged.unverified}" if judged.unverified else "",
    )
    session.tell(CollectionRecovered(name, judged.unverified))
