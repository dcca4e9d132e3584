"""One collection of a live server, brought out as a checked archive and its digest.

    snapshot   create on the server, download, compare with the server's SHA-256, remove from the server
    stream     read each shard's streamed snapshot and compose the collection's archive from them on the way

Both end in the same file, which Qdrant's own upload takes. While its bytes arrive they go to the disk, to the hash and
to the engine's child at once; the child unpacks them meanwhile and computes the digest when the last byte is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from qdrant_backup.archive.compose import compose_collection
from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.errors import CollectionFailed, ContentUnreadable, IntegrityFailed, ServerRefused
from qdrant_backup.model import BackupId, Checksum
from qdrant_backup.operations.aside import aside
from qdrant_backup.operations.copies import ServerCopies
from qdrant_backup.operations.events import Note
from qdrant_backup.storage.files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.engine.engine import Digested, DigestSink
    from qdrant_backup.model import CollectionInfo, CollectionName, Replica, SnapshotDescription
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.files import DurableFile

__all__ = ["Capture", "Captured", "Found", "Places", "content_of", "lacks_space"]

_STREAM_TRIES = 3
_DOWNLOAD_TRIES = 2
_INSUFFICIENT_STORAGE = 507
_POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A collection as the survey found it."""

    info: CollectionInfo
    replicas: tuple[Replica, ...] = ()
    estimated_bytes: int = 0

    @property
    def name(self) -> CollectionName:
        """Its name."""
        return self.info.name


@dataclasses.dataclass(frozen=True)
class Captured:
    """A collection's archive on disk.

    Attributes:
        method: `snapshot` or `stream`, as it was done in the end.
        report: what the walk through the archive found.
        digested: what the engine found in it; None when it could not open it, and `unverified` says why.
        server_count: what the server counted instead, where the engine could not.
    """

    found: Found
    method: str
    size_bytes: int
    sha256: Checksum
    report: ArchiveReport
    digested: Digested | None
    unverified: str = ""
    server_count: int = 0

    @property
    def records(self) -> int:
        """The points in the archive; the server's count where nobody could look inside."""
        return self.digested.summary.points if self.digested else self.server_count


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a capture puts the archive (None: nowhere, only the digest is wanted) and the digest."""

    file: DurableFile | None
    digest: Path


def lacks_space(error: ServerRefused) -> bool:
    """Whether the server failed because its disk is too full."""
    return error.status == _INSUFFICIENT_STORAGE or "no space" in error.why.lower()


class Capture:
    """One collection on its way out of the server: `begin`, `transfer`, `conclude`, in this order, and `close` always.

    `begin` returns at once, so that the server works on the next collection while this one's bytes arrive; `conclude`
    waits for the digest, so that the next one's transfer can run meanwhile.
    """

    def __init__(self, ports: Ports, found: Found, places: Places, copies: ServerCopies, *, method: str) -> None:
        self._ports = ports
        self._found = found
        self._places = places
        self._copies = copies
        self._method = method
        self._stack = ExitStack()
        self._sink: DigestSink | None = None
        self._made: Future[SnapshotDescription] | None = None
        self._finished: Future[Digested] | None = None
        self._size_bytes = 0
        self._own_hash = hashlib.sha256()

    def begin(self) -> None:
        """Have the server start on the snapshot, and the engine's child start."""
        if self._method != "stream":
            self._made = self._copies.begin(self._found.name)
        self._open_sink()

    def transfer(self) -> None:
        """Bring the archive here.

        Raises:
            CollectionMissing: it vanished.
            IntegrityFailed: its bytes are not what the server says, twice; or the archive is damaged or incomplete.
        """
        snapshot = self._snapshot()
        if snapshot is None:
            self._stream()
        else:
            self._download(snapshot)
            self._copies.remove(self._found.name)
        sink = self._opened()
        self._finished = aside(sink.finish, f"digest of {self._found.name}")

    def conclude(self) -> Captured:
        """Wait for the digest.

        Raises:
            IntegrityFailed: the archive is damaged, or holds other shards than the server's collection.
        """
        try:
            digested = self._finished.result() if self._finished else self._opened().finish()
        except ContentUnreadable as error:
            if self._places.file is None:
                raise
            return self._captured(self._walked(), None, str(error), self._ports.server.count(self._found.name))
        return self._captured(digested.report, digested)

    def _captured(
        self, report: ArchiveReport, digested: Digested | None, unverified: str = "", server_count: int = 0
    ) -> Captured:
        self._require_shards(report)
        return Captured(
            self._found,
            "snapshot" if self._made is not None else "stream",
            self._size_bytes,
            self._sha256,
            report,
            digested,
            unverified,
            server_count,
        )

    @property
    def _sha256(self) -> Checksum:
        """Of what has arrived. A file hashes what it writes, and once is enough: a hash is half of a transfer's work."""
        file = self._places.file
        return file.sha256 if file is not None else Checksum(self._own_hash.hexdigest())

    def close(self) -> None:
        """End the engine's child, if it still runs."""
        self._stack.close()

    def _opened(self) -> DigestSink:
        if self._sink is None:
            raise CollectionFailed(f"{self._found.name}: the capture has not begun")
        return self._sink

    def _open_sink(self) -> None:
        self._sink = self._stack.enter_context(self._ports.engine.open_digest(self._places.digest))

    def _snapshot(self) -> SnapshotDescription | None:
        """The server's finished snapshot; None when it is to be streamed."""
        if self._made is None:
            return None
        self._ports.working_on("Waiting for the snapshot of", self._found.name)
        try:
            return self._made.result()
        except ServerRefused as error:
            if self._method != "auto" or not lacks_space(error):
                raise
            self._ports.tell(
                Note(f"{self._found.name}: the server has no room for a snapshot, streaming instead ({error.why})")
            )
            self._made = None
            return None
        finally:
            self._ports.progress.end()

    def _restart(self) -> None:
        """Forget what arrived so far."""
        self._stack.close()
        self._open_sink()
        self._size_bytes, self._own_hash = 0, hashlib.sha256()
        if self._places.file is not None:
            self._places.file.restart()

    def _take(self, chunks: Iterable[bytes], total_bytes: int | None) -> None:
        """Pass the bytes on to the disk, the hash and the engine's child."""
        sink, file, progress = self._opened(), self._places.file, self._ports.progress
        progress.begin(f"Downloading {self._found.name}", total_bytes)
        try:
            for chunk in chunks:
                if file is not None:
                    file.write(chunk)
                else:
                    self._own_hash.update(chunk)
                self._size_bytes += len(chunk)
                sink.write(chunk)
                progress.advance(len(chunk))
        finally:
            progress.end()

    def _download(self, snapshot: SnapshotDescription) -> None:
        for attempt in range(_DOWNLOAD_TRIES):
            with closing(self._ports.server.download_snapshot(self._found.name, snapshot)) as download:
                self._take(download, download.total_bytes)
            if not snapshot.checksum or self._sha256 == snapshot.checksum:
                return
            # The bytes were changed on their way, or on the server's disk: a second download tells the two apart.
            if attempt + 1 < _DOWNLOAD_TRIES:
                self._ports.tell(
                    Note(f"{self._found.name}: the download has another SHA-256 than the server says, once more")
                )
                self._restart()
        raise IntegrityFailed(
            f"{self._found.name}: the downloaded snapshot is damaged",
            why=f"the server says SHA-256 {snapshot.checksum}, what arrived has {self._sha256}",
            advice="Something between here and the server changes bytes, or the server's disk is failing. Try again elsewhere.",
        )

    def _stream(self) -> None:
        """Compose the archive from streamed shards, between two looks at the optimiser that find it idle.

        A shard snapshot taken while it works brings deleted points back (measured on 1.18.3 and 1.19.0), so what was
        streamed beside it is thrown away.
        """
        for attempt in range(_STREAM_TRIES):
            if attempt:
                self._restart()
            before = self._quiet()
            self._take_streamed()
            if before == self._ports.server.optimizer_state(self._found.name):
                return
        raise CollectionFailed(
            f"{self._found.name} could not be streamed",
            why=f"its segments were being optimised each of {_STREAM_TRIES} times",
            advice="Use --method snapshot, or try again when nothing writes to it.",
        )

    def _take_streamed(self) -> None:
        try:
            self._take(self._composed(), None)
        except IntegrityFailed as error:
            raise IntegrityFailed(
                f"{self._found.name} could not be streamed",
                why=str(error),
                advice="A server that fails while it streams ends the stream as if it were whole: its log says why. A full "
                "disk is one reason.",
                collection=self._found.name,
            ) from error

    def _quiet(self) -> object:
        name, clock = self._found.name, self._ports.clock
        deadline = clock.monotonic() + self._ports.server_wait_s
        while True:
            state = self._ports.server.optimizer_state(name)
            if state is None or not state.running:
                return state
            if clock.monotonic() > deadline:
                raise CollectionFailed(
                    f"{name} could not be streamed",
                    why=f"its segments are still being optimised after {self._ports.server_wait_s:.0f} s",
                    advice="Use --method snapshot, or wait longer with QDRANT_BACKUP_SERVER_WAIT.",
                )
            clock.sleep(_POLL_S)

    def _composed(self) -> Iterable[bytes]:
        info, server = self._found.info, self._ports.server
        shards = sorted({replica.shard_id for replica in self._found.replicas})
        keys: dict[str | int, list[int]] = {}
        for replica in self._found.replicas:
            if replica.key is not None:
                keys.setdefault(replica.key, []).append(replica.shard_id)
        return compose_collection(
            ((shard, server.stream_shard_snapshot(info.name, shard)) for shard in shards),
            config=info.config,
            payload_schema=info.payload_schema,
            shard_keys=keys,
        )

    def _walked(self) -> ArchiveReport:
        """What the archive holds, where the engine could not say; proves at least that it is whole."""
        if self._places.file is None:
            raise ContentUnreadable(
                f"{self._found.name}: its content cannot be judged", why="the engine cannot open it"
            )
        walker = ArchiveWalker()
        for block in read_blocks(self._places.file.path):
            walker.feed(block)
        return walker.finish()

    def _require_shards(self, report: ArchiveReport) -> None:
        expected = {replica.shard_id for replica in self._found.replicas}
        found = set(report.shards_with_data)
        if expected and found != expected:
            raise IntegrityFailed(
                f"{self._found.name}: the snapshot holds {len(found & expected)} of {len(expected)} shards",
                why=f"the collection has the shards {sorted(expected)}, the snapshot has data of {sorted(found)}",
                advice="The node that answered does not hold the whole collection. Nothing was kept of this backup.",
            )


def content_of(ports: Ports, name: CollectionName, digest: Path) -> Digested:
    """Digest what a live collection holds now, by a fresh snapshot of it; no archive is kept, here or there.

    Args:
        ports: what to act through.
        name: the collection.
        digest: the digest's file, which must not exist.

    Raises:
        ContentUnreadable: the engine cannot open the snapshot.
        IntegrityFailed: it is damaged.
    """
    found = Found(ports.server.collection(name), ports.server.replicas(name))
    with ServerCopies(ports, BackupId("")) as copies:
        # A server whose disk is full still streams.
        capture = Capture(ports, found, Places(None, digest), copies, method="auto")
        with closing(capture):
            capture.begin()
            capture.transfer()
            captured = capture.conclude()
    if captured.digested is None:
        raise ContentUnreadable(f"{name}: its content cannot be judged", why=captured.unverified)
    return captured.digested
