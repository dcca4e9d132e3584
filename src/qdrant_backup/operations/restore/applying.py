"""The two steps that change a collection's data: drop it, and upload an archive to it. Each is journaled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qdrant_backup.errors import (
    AccessDenied,
    CollectionFailed,
    CollectionMissing,
    ConnectionFailed,
    QdrantBackupError,
    RefusedForSafety,
    ServerRefused,
)
from qdrant_backup.operations.copies import note_left_behind
from qdrant_backup.operations.events import Note, Warned
from qdrant_backup.operations.restore.live import fingerprint, settle, wait_until_gone
from qdrant_backup.qdrant.failures import Unanswered
from qdrant_backup.storage.journal import TargetState

if TYPE_CHECKING:
    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.operations.restore.source import Archive

__all__ = ["await_upload", "drop", "remove_uploads", "require_free_names", "require_unmoved", "upload"]

_TOO_LARGE = 413
_NAME_TRIES = 5
_DROP_TRIES = 3
_POLL_S = 0.5
# Between the last byte of an upload and the recovery the server hashes the file, and its telemetry counts nothing yet
# (`upload_snapshot` in src/actix/api/snapshot_api.rs, `recover.rs`, 1.18.3). A disk that reads slower than this has failed.
_HASHED_BYTES_PER_S = 50_000_000
_AT_LEAST_S = 1.0


def require_free_names(ports: Ports, name: CollectionName, *, existed: bool) -> None:
    """The target still is what the plan took it for: a collection, or nothing, and never an alias.

    An upload to an alias replaces the collection behind it.

    Raises:
        RefusedForSafety: it is an alias now, or a collection of that name appeared or vanished.
    """
    behind = ports.server.aliases().get(name)
    if behind is not None:
        raise RefusedForSafety(
            f"{name} is an alias of {behind}",
            why="restoring to an alias would replace the collection behind it",
            advice=f"Restore under another name with --rename, or remove the alias {name} first.",
            collection=name,
        )
    if ports.server.exists(name) != existed:
        raise RefusedForSafety(
            f"{name} {'has vanished from' if existed else 'has appeared on'} the server since the plan was made",
            why="somebody else works on this server",
            advice="Run the restore again when nobody else changes collections.",
            collection=name,
        )


def require_unmoved(session: Session, name: CollectionName) -> None:
    """Nobody has written to the target since its safety copy was begun.

    Raises:
        RefusedForSafety: somebody has; those writes are in no copy and the upload would lose them.
    """
    before = session.target(name).prior.versions
    if before is not None and fingerprint(session.ports, name) != before:
        raise RefusedForSafety(
            f"{name} is being written to",
            why="it changed after its safety copy was taken, and the restore would lose those writes",
            advice="Stop what writes to it and run the restore again, or give up those writes with --allow-writers.",
            collection=name,
        )


def drop(session: Session, name: CollectionName) -> None:
    """Delete a collection and see that it is gone and stays gone.

    Raises:
        CollectionFailed: it does not go.
    """
    ports = session.ports
    with session.step(name, "drop", state=TargetState.APPLYING, replaced=True):
        for _ in range(_DROP_TRIES):
            settle(ports, name)
            try:
                ports.server.delete_collection(name)
            except Unanswered:
                settle(ports, name)
            if wait_until_gone(ports, name):
                return
        raise CollectionFailed(
            f"{name} could not be deleted", why="the server still lists it, or lists it again", collection=name
        )


def _upload_name(ports: Ports, name: CollectionName) -> str:
    """A random file name that the server does not list; an upload under a listed one overwrites somebody's snapshot."""
    listed: set[str] = set()
    with contextlib.suppress(CollectionMissing, ServerRefused):
        listed = {snapshot.name for snapshot in ports.server.snapshots(name)}
    for _ in range(_NAME_TRIES):
        candidate = f"qdrant-backup-{ports.token()}.snapshot"
        if candidate not in listed:
            return candidate
    raise RefusedForSafety(f"{name}: no unused file name was found", why="each random name is listed already")


def upload(session: Session, name: CollectionName, archive: Archive, *, action: str = "upload") -> None:
    """Send the archive; the server recovers the collection from it in the same call. Sent once, whatever happens.

    A lost answer is waited out: afterwards nothing is known of the outcome, and only the content will tell.

    Raises:
        ConnectionFailed: the transfer broke, or the server did not come back or worked on for too long.
        ServerRefused: it said no; after a 500 the old data may be gone.
    """
    ports = session.ports
    upload_name = _upload_name(ports, name)
    detail = {"name": upload_name, "sha256": archive.sha256, "size_bytes": archive.size_bytes}
    changes = {"state": TargetState.APPLYING, "upload_name": upload_name, "upload_sha256": archive.sha256}
    with session.step(name, action, detail=detail, **changes):
        ports.progress.begin(f"Uploading {name}", archive.size_bytes)
        try:
            ports.server.upload_snapshot(
                name,
                snapshot_name=upload_name,
                chunks=archive.chunks(ports.progress),
                size_bytes=archive.size_bytes,
                checksum=archive.sha256,
            )
        except Unanswered as error:
            ports.tell(Note(f"{name}: no answer to the upload ({error.why}); waiting until the server is idle"))
            await_upload(session, name)
            settle(ports, name)
        except ServerRefused as error:
            if error.status == _TOO_LARGE:
                error.advice = "A proxy in front of Qdrant limits the size of requests: raise its limit, or go past it."
            raise
        finally:
            ports.progress.end()
    session.mark(name, state=TargetState.APPLIED)
    remove_uploads(session, name)


def await_upload(session: Session, name: CollectionName) -> None:
    """After an upload without an answer: wait until the server has begun to recover it, or surely never will.

    A saved upload is listed, and its recovery begins at once; one that is not listed after the time that hashing it takes
    never arrived whole. Only then do the server's counts of running recoveries mean anything.
    """
    ports = session.ports
    steps = [step for step in session.target(name).steps if "name" in step.detail]
    if not steps or steps[-1].concluded_at is not None:
        return
    detail = steps[-1].detail
    hashing_s = _AT_LEAST_S + detail.get("size_bytes", 0) / _HASHED_BYTES_PER_S
    deadline = ports.clock.monotonic() + hashing_s
    while not _is_listed(ports, name, detail["name"]) and ports.clock.monotonic() < deadline:
        ports.clock.sleep(_POLL_S)


def _is_listed(ports: Ports, name: CollectionName, upload_name: str) -> bool:
    try:
        return any(snapshot.name == upload_name for snapshot in ports.server.snapshots(name))
    except (CollectionMissing, ServerRefused, ConnectionFailed):
        return False


def remove_uploads(session: Session, name: CollectionName) -> None:
    """Delete the files that our uploads left under the collection: those the journal names, and no others."""
    target = session.target(name)
    names = [step.detail["name"] for step in target.steps if "name" in step.detail]
    for upload_name in dict.fromkeys(names):
        try:
            gone = session.ports.server.delete_snapshot(name, upload_name)
        except CollectionMissing:
            continue
        except (ServerRefused, ConnectionFailed, AccessDenied) as error:
            _say_left(session, name, upload_name, str(error))
            continue
        if not gone:
            _say_left(session, name, upload_name, "the server did not delete it")


def _say_left(session: Session, name: CollectionName, upload_name: str, why: str) -> None:
    text = f"{name}: the uploaded file {upload_name} stays on the server for now: {why}"
    try:
        note_left_behind(session.ports, name, upload_name)
    except QdrantBackupError as error:
        # What was restored is worth more than the note about a file.
        session.tell(Warned(f"{text}; no note of it could be made, so delete it yourself ({error})"))
        return
    session.tell(Warned(f"{text}; the next run removes it"))
