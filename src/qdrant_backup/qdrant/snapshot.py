"""Snapshots on the server: list, create, delete, download, stream, upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.errors import CollectionFailed, IntegrityFailed, ServerRefused
from qdrant_backup.model import NO_PROGRESS, Checksum, SnapshotDescription
from qdrant_backup.qdrant.base import READ, RESTORE, SNAPSHOT
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path
from qdrant_backup.qdrant.download import Download
from qdrant_backup.qdrant.failures import Unanswered
from qdrant_backup.qdrant.topology import POLL_S, QUIET_POLLS, TopologyCalls
from qdrant_backup.qdrant.upload import Multipart, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qdrant_backup.model import CollectionName, Progress

__all__ = ["SnapshotCalls"]

_NOT_FOUND = 404
_CHECKSUM_POLLS = 5


class _Description(msgspec.Struct):
    name: str
    size: int
    creation_time: str | None = None
    checksum: str | None = None

    def value(self) -> SnapshotDescription:
        checksum = Checksum((self.checksum or "").strip().lower())
        return SnapshotDescription(self.name, self.size, self.creation_time or "", checksum)


class SnapshotCalls(TopologyCalls):
    """Everything that concerns snapshots of one collection."""

    def snapshots(self, name: CollectionName) -> tuple[SnapshotDescription, ...]:
        """The collection's stored snapshots in the order of their names: ours and everybody else's."""
        call = Call.get(collection_path(name, "snapshots"), f"list the snapshots of {name!r}", limit_bytes=LARGE_BYTES)
        found = self._http.result(call, list[_Description])
        return tuple(sorted((one.value() for one in found), key=lambda one: one.name))

    def create_snapshot(self, name: CollectionName, *, progress: Progress = NO_PROGRESS) -> SnapshotDescription:
        """Create one snapshot and describe it, however long it takes.

        The creation is asked for once. When its answer is lost, the server is watched until it is idle, and the one
        snapshot that is new is adopted. Names have a resolution of a second, so the listed checksum must be the
        answer's; whose the name was before then no longer matters.

        Raises:
            CollectionFailed: the answer was lost and no snapshot, or more than one, appeared.
            IntegrityFailed: under the name in the answer stands another snapshot.
        """
        before = {one.name: one for one in self.snapshots(name)}
        path = collection_path(name, "snapshots", query={"wait": "true"})
        call = Call.change("POST", path, f"create a snapshot of {name!r}", SNAPSHOT)
        try:
            created = self._http.result(call, _Description).value()
        except Unanswered as lost:
            progress.note(f"no answer to the creation of a snapshot of {name!r} ({lost.why}): looking for it")
            return self._adopt(name, before, lost)
        return self._confirmed(name, created, before)

    def delete_snapshot(self, name: CollectionName, snapshot: str) -> bool:
        """Delete a stored snapshot. True when it is gone, also when it was gone already.

        False when the server answers `result: false`, which is not a deletion. A lost answer is looked up; when the
        snapshot is still listed the `Unanswered` comes out.
        """
        path = collection_path(name, "snapshots", snapshot, query={"wait": "true"})
        call = Call.change("DELETE", path, f"delete the snapshot {snapshot!r} of {name!r}", SNAPSHOT)
        try:
            return self._http.result(call, bool)
        except ServerRefused as error:
            if error.status == _NOT_FOUND:
                return True
            raise
        except Unanswered:
            if snapshot not in {one.name for one in self.snapshots(name)}:
                return True
            raise

    def download_snapshot(self, name: CollectionName, snapshot: SnapshotDescription) -> Download:
        """A stored snapshot as chunks, resumed after breaks. Compare its SHA-256 with the description's: this does not."""
        path = collection_path(name, "snapshots", snapshot.name)
        call = Call.get(path, f"download the snapshot {snapshot.name!r} of {name!r}", right=READ)
        return Download(self._http, call, collection=name, expected_bytes=snapshot.size_bytes)

    def stream_shard_snapshot(self, name: CollectionName, shard_id: int) -> Download:
        """A shard's snapshot made while it is sent: no length, no checksum, no resuming.

        A stream that fails on the server ends like a good one. Only the archive's last members and end blocks prove
        that it is whole. Drain it at full speed: the server holds locks meanwhile.
        """
        path = collection_path(name, "shards", shard_id, "snapshot")
        call = Call("GET", path, f"stream shard {shard_id} of {name!r}", SNAPSHOT, repeatable=True)
        return Download(self._http, call, collection=name, expected_bytes=None, resumable=False)

    def upload_snapshot(
        self,
        name: CollectionName,
        *,
        snapshot_name: str,
        chunks: Callable[[], Iterable[bytes]],
        size_bytes: int,
        checksum: Checksum,
        priority: str = "snapshot",
    ) -> None:
        """Upload a collection snapshot and recover the collection from it, in one call.

        Args:
            name: the collection; created when it does not exist. An alias would be followed: check before.
            snapshot_name: the file's name on the server, where it stays until it is deleted. It overwrites one of the
                same name.
            chunks: gives the archive's bytes from the start; called once.
            size_bytes: how many there are.
            checksum: the archive's SHA-256, which the server verifies before it touches anything.
            priority: `snapshot`, `replica` or `no_sync`.

        Raises:
            Unanswered: everything was sent and no answer came: the server may still be recovering
                (`wait_for_recovery_end`).
            ConnectionFailed: it broke before everything was sent, so nothing was changed.
            ServerRefused: the server's own error. After a 500 the old data may be gone.
            IntegrityFailed, NotWritable: the local file has another size, or cannot be read.
        """
        query = {"wait": "true", "priority": priority, "checksum": checksum}
        path = collection_path(name, "snapshots", "upload", query=query)
        call = Call.change("POST", path, f"upload a snapshot to {name!r}", RESTORE)
        upload(self._http, call, Multipart(snapshot_name, chunks, size_bytes))

    def _confirmed(
        self, name: CollectionName, created: SnapshotDescription, before: Mapping[str, SnapshotDescription]
    ) -> SnapshotDescription:
        """The description as listed. 1.18 lists a new snapshot for a moment without its checksum."""
        old = before.get(created.name)
        if old is not None and old == created:
            raise self._not_ours(name, created.name, "it was there before")
        for _ in range(_CHECKSUM_POLLS):
            listed = next((one for one in self.snapshots(name) if one.name == created.name), None)
            if listed is None:
                raise self._not_ours(name, created.name, "it is not listed")
            if listed.checksum or not created.checksum:
                break
            self._http.clock.sleep(POLL_S)
        else:
            return created
        if (listed.checksum, listed.size_bytes) != (created.checksum, created.size_bytes):
            raise self._not_ours(name, created.name, "another snapshot made in the same second has taken its name")
        return listed

    def _not_ours(self, name: CollectionName, snapshot: str, why: str) -> IntegrityFailed:
        return IntegrityFailed(
            f"the snapshot {snapshot!r} of {name!r} is not the one that was just created",
            why=why,
            advice="Run it again; let no other tool create snapshots of this collection meanwhile.",
            collection=name,
        )

    def _adopt(
        self, name: CollectionName, before: Mapping[str, SnapshotDescription], lost: Unanswered
    ) -> SnapshotDescription:
        """The one snapshot that is new once the server is idle."""
        new = self._new_when_idle(name, before)
        if len(new) == 1:
            return new[0]
        found = ", ".join(repr(one.name) for one in new)
        why = f"{lost.why}; " + (f"several are new ({found}) and none is surely ours" if new else "none appeared")
        raise CollectionFailed(
            lost.what,
            why=why,
            advice="Run it again." + (" Delete those that nobody needs." if new else ""),
            collection=name,
        )

    def _new_when_idle(
        self, name: CollectionName, before: Mapping[str, SnapshotDescription]
    ) -> tuple[SnapshotDescription, ...]:
        """What is new and stays the same on several looks at an idle server.

        Where telemetry is denied nobody can tell idle from busy; then a new snapshot must stay unchanged, and none
        appearing within the deadline on silence counts as failed.
        """
        clock = self._http.clock
        began = clock.monotonic()
        last: tuple[SnapshotDescription, ...] = ()
        same = 0
        while True:
            busy = self.snapshots_running_if_told(name)
            new = tuple(one for one in self.snapshots(name) if before.get(one.name) != one)
            same = same + 1 if new == last and not busy else 0
            last = new
            enough = busy is not None or new or clock.monotonic() - began > self._http.target.silence_s
            if same >= QUIET_POLLS and enough:
                return new
            clock.sleep(POLL_S)
