"""The snapshots that a run makes on the server: begun ahead, noted on disk first, and removed on every way out."""

from __future__ import annotations

import contextlib
import re
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from qdrant_backup.errors import AccessDenied, CollectionMissing, ConnectionFailed, QdrantBackupError, ServerRefused
from qdrant_backup.operations.aside import aside
from qdrant_backup.operations.events import Warned
from qdrant_backup.storage.intents import IntentStore, SnapshotIntent, url_without_secrets

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Self

    from qdrant_backup.model import BackupId, CollectionName, SnapshotDescription
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.intents import IntentFile

__all__ = ["ServerCopies", "note_left_behind", "remove_left_behind"]

_SECOND_IN_NAME = re.compile(r"-(\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2})\.snapshot$")
_NEAR = timedelta(seconds=10)
_SECOND_S = 1.1
_RECENT = timedelta(days=1)  # By our clock; the server's may go wrong by hours.
# How long an ended run waits for a creation that is still running on the server, so as to remove its snapshot at once.
# Past that the note on disk stays, and the next run removes it.
_LAST_WAIT_S = 20.0
_POLL_S = 0.5
_QUIET_LOOKS = 3
_LONGEST_CREATION = timedelta(days=1)


class ServerCopies:
    """Makes snapshots on the server and sees to it that none stays there.

    Use as a context manager: on the way out, however the run ends, everything it made is removed. What could not be
    removed is named in a warning, and its note stays for the next run (`remove_left_behind`).
    """

    def __init__(self, ports: Ports, backup_id: BackupId) -> None:
        self._ports = ports
        self._backup_id = backup_id
        self._intents = IntentStore(ports.directory.root)
        self._begun: dict[CollectionName, tuple[IntentFile, Future[SnapshotDescription]]] = {}

    def begin(self, name: CollectionName) -> Future[SnapshotDescription]:
        """Start making a snapshot; the note of it is durable before the server is asked.

        The future raises what `Server.create_snapshot` raises.

        Raises:
            NotWritable, InsufficientSpace: the note could not be written, or the disk is not the one of before.
        """
        if self._backup_id:
            self._ports.directory.require_unfinished(self._backup_id)
        server = self._ports.server
        intent = SnapshotIntent(
            server_url=server.url,
            collection=name,
            existing=tuple(snapshot.name for snapshot in server.snapshots(name)),
            begun_at=self._ports.clock.now(),
            backup_id=self._backup_id,
        )
        file = self._intents.record(intent)
        future = aside(lambda: self._created(name, file), f"snapshot of {name}")
        self._begun[name] = (file, future)
        return future

    def _created(self, name: CollectionName, file: IntentFile) -> SnapshotDescription:
        # A server names a snapshot by the second, and overwrites one of the same second: that one may be the user's.
        if any(self._is_recent(existing) for existing in file.intent.existing):
            clock = self._ports.clock
            until = clock.monotonic() + _SECOND_S
            while clock.monotonic() < until:
                clock.sleep(_SECOND_S)
        snapshot = self._ports.server.create_snapshot(name)
        # With its name in the note a run that is killed from now on leaves no doubt whose it is. A disk that is too full
        # for that is no reason to lose sight of the snapshot here: then it must still be removed.
        with contextlib.suppress(QdrantBackupError):
            self._intents.answered(file, snapshot.name)
        return snapshot

    def _is_recent(self, snapshot: str) -> bool:
        made = _second_in(snapshot)
        return made is not None and abs(self._ports.clock.now() - made) < _RECENT

    def remove(self, name: CollectionName) -> bool:
        """Remove the snapshot that was begun for the collection; whether it is gone from the server."""
        if name not in self._begun:
            return True
        file, future = self._begun.pop(name)
        try:
            snapshot = future.result(timeout=_LAST_WAIT_S).name
        except (FutureTimeoutError, ConnectionFailed):
            self._say_left(name, "the server had not answered yet")
            return False
        except QdrantBackupError:
            self._intents.forget(file)
            return True
        return self._remove(file, snapshot)

    def _remove(self, file: IntentFile, snapshot: str) -> bool:
        name = file.intent.collection
        try:
            gone = self._ports.server.delete_snapshot(name, snapshot)
        except QdrantBackupError as error:
            self._say_left(f"{name}: {snapshot}", str(error))
            return False
        if not gone:
            self._say_left(f"{name}: {snapshot}", "the server did not delete it")
            return False
        self._intents.forget(file)
        return True

    def _say_left(self, what: str, why: str) -> None:
        self._ports.tell(Warned(f"a snapshot stays on the server for now ({what}): {why}; the next run removes it"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._begun):
            self.remove(name)


def note_left_behind(ports: Ports, name: CollectionName, snapshot: str) -> None:
    """Note a snapshot of ours that could not be removed from the server, so that the next run removes it.

    Raises:
        NotWritable, InsufficientSpace: the note could not be written.
    """
    intents = IntentStore(ports.directory.root)
    here = url_without_secrets(ports.server.url)
    if any((file.intent.server_url, file.intent.snapshot) == (here, snapshot) for file in intents.pending()):
        return
    intent = SnapshotIntent(
        server_url=here, collection=name, existing=(), begun_at=ports.clock.now(), snapshot=snapshot
    )
    intents.record(intent)


def remove_left_behind(ports: Ports) -> None:
    """Remove from this server the snapshots that killed runs left there, and only those.

    A note that holds the snapshot's name is certain. One without (the run was killed before the answer) is matched by
    the name's second and by what was listed before; when that fits none or several, nothing is removed and what is in
    doubt is named in a warning.
    """
    intents = IntentStore(ports.directory.root)
    here = url_without_secrets(ports.server.url)
    for file in intents.pending():
        if file.intent.server_url == here and _settle(ports, file.intent):
            intents.forget(file)


def _settle(ports: Ports, intent: SnapshotIntent) -> bool:
    """Remove what the note is about; whether the note may go."""
    try:
        return _removed(ports, intent)
    except CollectionMissing:
        return True
    except (ServerRefused, AccessDenied) as error:
        ports.tell(Warned(f"{intent.collection}: a snapshot of an earlier run could not be removed: {error}"))
        return False


def _removed(ports: Ports, intent: SnapshotIntent) -> bool:
    if intent.snapshot:
        return ports.server.delete_snapshot(intent.collection, intent.snapshot)
    new, at_rest = _appeared(ports, intent)
    ours = [name for name in new if _begun_with(name, intent)]
    if len(ours) == 1:
        return ports.server.delete_snapshot(intent.collection, ours[0])
    if not at_rest:
        ports.tell(
            Warned(f"{intent.collection}: the server may still make a snapshot for a killed run; the next run looks")
        )
    elif new:
        doubtful = ", ".join(new)
        ports.tell(Warned(f"{intent.collection}: an earlier run was killed; not removed, since in doubt: {doubtful}"))
    return at_rest


def _appeared(ports: Ports, intent: SnapshotIntent) -> tuple[list[str], bool]:
    """The snapshots that are new since the note, and whether the server is at rest, so that no more will follow.

    A server goes on with what a run asked for that was killed, and lists it when it is whole. The wait matters where the
    collection is dropped next: what is listed only then, nobody can reach any more.
    """
    clock = ports.clock
    until = clock.monotonic() + _LAST_WAIT_S
    quiet = 0
    while True:
        new = [one.name for one in ports.server.snapshots(intent.collection) if one.name not in intent.existing]
        if any(_begun_with(name, intent) for name in new):
            return new, True
        quiet = 0 if _may_be_making(ports, intent) else quiet + 1
        if quiet >= _QUIET_LOOKS or clock.monotonic() >= until:
            return new, quiet >= _QUIET_LOOKS
        clock.sleep(_POLL_S)


def _may_be_making(ports: Ports, intent: SnapshotIntent) -> bool:
    """Whether the server may still make what the note is about; where it does not say, only time can tell."""
    running = ports.server.snapshots_running_if_told(intent.collection)
    return running > 0 if running is not None else ports.clock.now() - intent.begun_at < _LONGEST_CREATION


def _begun_with(snapshot: str, intent: SnapshotIntent) -> bool:
    moment = _second_in(snapshot)
    return moment is not None and abs(moment - (intent.server_time or intent.begun_at)) <= _NEAR


def _second_in(snapshot: str) -> datetime | None:
    """The second that a snapshot's name says it was made in, by the server's clock; None where it says none."""
    match = _SECOND_IN_NAME.search(snapshot)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
