"""The child process in which the engine runs: a damaged snapshot may kill it, hang it, or take all its memory.

It unpacks an archive that it is fed, opens its shards and writes their digest; `wire.py` has the protocol. This is one
of the two places that catch everything: the engine's panics derive from `BaseException`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import msgspec

from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.engine.halves import JudgedError, halved_blocks, is_worth_halving
from qdrant_backup.engine.not_finite import NotFinite
from qdrant_backup.engine.opening import Unpacker, shard_directories
from qdrant_backup.engine.reading import blocks_of, vector_names_of, write_digest
from qdrant_backup.engine.unsynced import spare_disk_waits
from qdrant_backup.engine.verdict import failed_from
from qdrant_backup.engine.wire import (
    FRAME_HEAD_BYTES,
    LARGEST_FRAME_BYTES,
    Alive,
    Answer,
    Done,
    Failed,
    Job,
)
from qdrant_backup.errors import ContentUnreadable

if TYPE_CHECKING:
    from qdrant_backup.archive.report import ArchiveReport

try:
    import resource
except ImportError:  # Windows has no such limits; the deadlines hold there alone.
    resource = None

__all__ = ["main"]

_ALIVE_EVERY_BYTES = 16 << 20
_GUARD_MORE_S = 30.0
"""How much longer than its parent the child waits before it ends itself: only an orphan ever gets there."""


class _ParentGoneError(Exception):
    """The pipe ended before the archive did."""


class _Channel:
    """The child's side of the protocol, and what it does when its parent is gone."""

    def __init__(self, source: BinaryIO, answers: int) -> None:
        self._source = source
        self._answers = answers
        self.descriptors = (source.fileno(), answers)
        self.job = msgspec.json.decode(source.readline(), type=Job)

    def send(self, answer: Answer) -> None:
        rest = memoryview(msgspec.json.encode(answer) + b"\n")
        while rest:
            rest = rest[os.write(self._answers, rest) :]

    def alive(self, archive_bytes: int = 0) -> None:
        """Say so, and put off the end that a call of the engine which never returns would come to."""
        faulthandler.dump_traceback_later(self.job.limits.quiet_s(archive_bytes) + _GUARD_MORE_S, exit=True)
        self.send(Alive())

    def feed(self, walker: ArchiveWalker) -> None:
        """Take the whole archive."""
        buffer = memoryview(bytearray(LARGEST_FRAME_BYTES))
        unsaid = 0
        while True:
            size = int.from_bytes(self._exactly(buffer[:FRAME_HEAD_BYTES]), "little")
            if not size:
                return
            walker.feed(self._exactly(buffer[:size]))
            unsaid += size
            if unsaid >= _ALIVE_EVERY_BYTES:
                unsaid = 0
                self.send(Alive())

    def _exactly(self, view: memoryview) -> memoryview:
        rest = view
        while rest:
            # `readinto` of a raw pipe: None never comes, as the pipe blocks; 0 is its end.
            got = self._source.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType,reportUnknownVariableType] - BinaryIO's stub lacks it
            if not got:
                raise _ParentGoneError
            rest = rest[got:]
        return view

    def watch_parent(self) -> None:
        """End with the parent, as soon as the engine lets go of the interpreter."""
        threading.Thread(target=self._await_end, daemon=True).start()

    def _await_end(self) -> None:
        self._source.read(1)
        self.abandon()

    def abandon(self) -> NoReturn:
        """Remove what was made for a parent that is gone, and end."""
        Path(self.job.target).unlink(missing_ok=True)
        shutil.rmtree(self.job.scratch, ignore_errors=True)
        os._exit(1)


def _limit_memory(job: Job, apparent_bytes: int) -> None:
    """Bound the address space. Mapped files count, so it can only be known now; threads reserve some per core."""
    if resource is None:
        return
    cores = os.cpu_count() or 1
    limit = max(0, apparent_bytes + job.limits.headroom_bytes + cores * job.limits.per_core_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _settle() -> None:
    os.umask(0o077)
    # Points are plain values without cycles; looking for some in millions of them takes time.
    gc.disable()
    # Ctrl-C reaches the whole foreground group; the parent decides what becomes of its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # All it unpacks is thrown away, and the digest is made durable by its parent.
    spare_disk_waits()


def _is_wanted_without_indexes(name: str) -> bool:
    return "/payload_index/" not in name


def _unpack(channel: _Channel, directory: Path) -> tuple[ArchiveReport, int]:
    job = channel.job
    unpacker = Unpacker(directory) if job.with_indexes else Unpacker(directory, _is_wanted_without_indexes)
    walker = ArchiveWalker(unpacker, name=job.name)
    channel.feed(walker)
    return walker.finish(), unpacker.apparent_bytes


def _digest(channel: _Channel) -> Done:
    job = channel.job
    directory = Path(job.scratch, "unpacked")
    directory.mkdir(mode=0o700)
    report, apparent_bytes = _unpack(channel, directory)
    channel.watch_parent()
    _limit_memory(job, apparent_bytes)

    def alive() -> None:
        channel.alive(report.size_bytes)

    alive()
    names = vector_names_of(report)
    shards = shard_directories(directory)
    if shards and not names:
        raise ContentUnreadable(
            "The embedded engine cannot open the snapshot", why="the collection has no vectors, only payloads"
        )
    scratch, odd = Path(job.scratch), NotFinite()
    if len(shards) == 1 and is_worth_halving(report.stored_bytes, job.limits.halve_from_bytes, scratch):
        blocks = halved_blocks(shards[0], names, scratch, alive, channel.descriptors, odd)
    else:
        blocks = blocks_of(shards, names, scratch, alive, odd)
    with contextlib.closing(blocks):
        summary = write_digest(blocks, names, Path(job.target))
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return Done(summary.points, summary.vector_names, summary.content, plain, odd.counts)


def _answer(channel: _Channel) -> Answer:
    try:
        return _digest(channel)
    except _ParentGoneError:
        channel.abandon()
    except JudgedError as error:
        return error.failed
    except BaseException as error:  # noqa: BLE001 - the engine's panics are no `Exception`
        return failed_from(error)


def main() -> NoReturn:
    """Do one job and end, without the interpreter's and the engine's farewells: what they would flush is thrown away."""
    _settle()
    answers = os.dup(1)
    # Whatever prints, in any language, must not garble the answers.
    os.dup2(2, 1)
    faulthandler.enable(sys.stderr)
    channel = _Channel(os.fdopen(os.dup(0), "rb", buffering=0), answers)
    answer = _answer(channel)
    channel.send(answer)
    os._exit(isinstance(answer, Failed))
