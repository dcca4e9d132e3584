"""Brings the collections of a plan into a backup, several of them on their way at any moment.

While one collection's bytes arrive, the server makes the next ones' snapshots, the last one's file becomes durable and
the engine's child digests its points. What is reported is reported in the plan's order.

A server takes about a second for a snapshot however small it is, so it makes up to three of small collections at once;
of large ones it makes one while one is downloaded: more would only take its disk and slow down who works on it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionFailed, CollectionMissing, ServerRefused
from qdrant_backup.layout import digest_path, snapshot_path
from qdrant_backup.manifest import Skipped
from qdrant_backup.operations.aside import aside
from qdrant_backup.operations.capture import Capture, Places
from qdrant_backup.operations.copies import ServerCopies
from qdrant_backup.operations.events import CollectionBackedUp, CollectionBegun, CollectionSkipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from datetime import datetime

    from qdrant_backup.errors import OperationFailed
    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.capture import Captured, Found
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.files import DurableFile
    from qdrant_backup.storage.partial import PartialBackup

__all__ = ["Taken", "Transfer"]

_MOST_AHEAD = 3
_AHEAD_BYTES = 256 << 20
_PERHAPS_VANISHED = (CollectionMissing, CollectionFailed, ServerRefused)


@dataclasses.dataclass(frozen=True)
class Taken:
    """What came into the backup, each with the moment it was complete; and what vanished meanwhile."""

    captured: tuple[tuple[Captured, datetime], ...]
    skipped: tuple[Skipped, ...]

    @property
    def names(self) -> frozenset[CollectionName]:
        """The collections that are in the backup."""
        return frozenset(captured.found.name for captured, _ in self.captured)

    @property
    def all_verified(self) -> bool:
        """Whether the engine has read every point of every collection."""
        return not any(captured.unverified for captured, _ in self.captured)


@dataclasses.dataclass
class _OnTheWay:
    found: Found
    file: DurableFile
    capture: Capture
    stored: Future[None] | None = None


class Transfer:
    """One run over the collections of a plan.

    Args:
        method: `auto`, `snapshot` or `stream`.
        named: the names that were asked for; one of these that vanishes is an error, any other one is skipped.
        partial: the backup being written.
    """

    def __init__(self, method: str, named: Sequence[str], ports: Ports, partial: PartialBackup) -> None:
        self._method = method
        self._named = frozenset(named)
        self._ports = ports
        self._partial = partial
        self._captured: list[tuple[Captured, datetime]] = []
        self._skipped: list[Skipped] = []
        self._open: deque[_OnTheWay] = deque()

    def run(self, collections: Sequence[Found]) -> Taken:
        """Bring all of them; raises as `Capture` does, and then leaves nothing on the server."""
        with ServerCopies(self._ports, self._partial.backup_id) as copies:
            try:
                self._run(collections, copies)
            finally:
                while self._open:
                    left = self._open.popleft()
                    if left.stored is not None:
                        left.stored.exception()  # Nobody may take the file away from under the other thread.
                    left.capture.close()
        return Taken(tuple(self._captured), tuple(self._skipped))

    def _run(self, collections: Sequence[Found], copies: ServerCopies) -> None:
        waiting = deque(collections)
        ahead: deque[_OnTheWay] = deque()
        while waiting or ahead:
            while waiting and _has_room(ahead, waiting[0]):
                begun = self._begin(waiting.popleft(), copies)
                if begun is not None:
                    ahead.append(begun)
            if ahead and self._transferred(ahead.popleft()):
                self._conclude(keep=1)
        self._conclude(keep=0)

    def _begin(self, found: Found, copies: ServerCopies) -> _OnTheWay | None:
        file = self._partial.create(snapshot_path(found.name))
        digest = self._partial.place(digest_path(found.name))
        capture = Capture(self._ports, found, Places(file, digest), copies, method=self._method)
        coming = _OnTheWay(found, file, capture)
        self._open.append(coming)
        try:
            capture.begin()
        except _PERHAPS_VANISHED as error:
            self._skip(coming, error)
            return None
        return coming

    def _transferred(self, current: _OnTheWay) -> bool:
        try:
            current.capture.transfer()
        except _PERHAPS_VANISHED as error:
            self._skip(current, error)
            return False
        current.stored = aside(current.file.close, f"fsync of {current.found.name}")
        return True

    def _skip(self, coming: _OnTheWay, error: OperationFailed) -> None:
        """Go on without a collection that is no longer there; an error that has another cause is raised."""
        name = coming.found.name
        if not isinstance(error, CollectionMissing) and name in self._ports.server.collections():
            raise error
        if name in self._named:
            raise CollectionMissing(
                f"collection {name!r} vanished while it was backed up", why=str(error), collection=name
            ) from error
        self._open.remove(coming)
        coming.capture.close()
        self._partial.drop(snapshot_path(name))
        reason = "it vanished from the server while the backup ran"
        self._skipped.append(Skipped(what=f"collection {name}", reason=reason))
        self._ports.tell(CollectionSkipped(name, reason))

    def _conclude(self, keep: int) -> None:
        """Wait for the digests of all transferred collections but the last `keep`, and those not yet transferred."""
        while len([coming for coming in self._open if coming.stored is not None]) > keep:
            done = self._open.popleft()
            try:
                if done.stored is not None:
                    done.stored.result()
                captured = done.capture.conclude()
            finally:
                done.capture.close()
            if captured.digested is not None:
                self._partial.adopt(digest_path(done.found.name))
            self._captured.append((captured, self._ports.clock.now()))
            self._tell(captured)

    def _tell(self, captured: Captured) -> None:
        name = captured.found.name
        self._ports.tell(CollectionBegun(name))
        self._ports.tell(
            CollectionBackedUp(name, captured.records, captured.size_bytes, unverified=captured.unverified)
        )


def _has_room(ahead: Sequence[_OnTheWay], found: Found) -> bool:
    """Whether the server may begin on one more: two are always on their way, a third when all of them are small."""
    if len(ahead) < 2:  # noqa: PLR2004 - the one that is downloaded next, and the one that is made meanwhile
        return True
    sizes = (found.estimated_bytes, *(one.found.estimated_bytes for one in ahead))
    return len(ahead) < _MOST_AHEAD and sum(sizes) <= _AHEAD_BYTES
