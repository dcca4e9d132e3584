"""The embedded engine as the rest of the program sees it: an archive goes in, a digest comes out.

Everything that touches Qdrant's file formats happens in a child process with a limit on its memory; whatever becomes of
it, the parent gets an answer or an error within a bounded time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.engine.parent import Child
from qdrant_backup.engine.scratch import clear, not_made, private_directory
from qdrant_backup.engine.verdict import error_from, error_of_death
from qdrant_backup.engine.wire import Done, Job, Limits, report_from
from qdrant_backup.errors import ContentUnreadable, NotWritable, QdrantBackupError
from qdrant_backup.model import NO_PROGRESS, DigestSummary

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.model import Progress

__all__ = ["DigestSink", "Digested", "Engine"]

_READ_BYTES = 1 << 20
_FULL_BELOW_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class Digested:
    """A digest that stands at its target, and what the walk through the archive found.

    Attributes:
        not_finite: vector name to points whose vector has NaN or an infinity in it, at least.
    """

    summary: DigestSummary
    report: ArchiveReport
    not_finite: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])


def _create(target: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        os.close(os.open(target, flags, 0o600))
    except OSError as error:
        raise not_made(f"The digest {target} cannot be created", error) from error


def _remove(target: Path) -> None:
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise NotWritable(f"The unfinished digest {target} cannot be removed", why=str(error)) from error


def _started(job: Job) -> Child:
    try:
        return Child(job)
    except OSError as error:
        raise NotWritable("The engine's child process does not start", why=str(error)) from error


def _make_durable(target: Path) -> None:
    """The child's own fsync would do nothing (`unsynced.py`)."""
    try:
        descriptor = os.open(target, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise not_made(f"The digest {target} cannot be written", error) from error


class DigestSink:
    """Takes an archive's bytes while they pass by. Made by `Engine.open_digest`.

    Attributes:
        target: where the digest goes.
        scratch: where the archive is unpacked.
        pid: the process id of the child that does the work.
        finished: the digest is complete and stays.
    """

    def __init__(self, child: Child, job: Job) -> None:
        self.target = Path(job.target)
        self.scratch = Path(job.scratch)
        self.pid = child.pid
        self.finished = False
        self._child = child
        self._limits = job.limits
        self._fed_bytes = 0
        self._refused = False

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; waits while the child is behind.

        Never raises for what the child makes of them, so that a download goes on when its digest has failed: `finish`
        raises.
        """
        if not self._refused:
            self._fed_bytes += len(chunk)
            self._refused = not self._child.feed(chunk)

    def finish(self) -> Digested:
        """Say that the archive is complete, and wait for the digest: fsynced, mode 0600, at `target`.

        Raises:
            IntegrityFailed: the archive or what is in it is damaged, or reading it takes memory that its size does not
                explain.
            ContentUnreadable: the engine cannot open it (older than 1.16, newer than the engine, without vectors), or
                the child was killed or silent for too long.
            InsufficientSpace: the scratch or the target directory's disk is full.
            NotWritable: they cannot be written for another reason.
            InternalError: the child failed by a mistake of ours.
        """
        if not self._refused:
            self._child.end_feed()
        try:
            answer = self._child.await_answer(self._limits.quiet_s(self._fed_bytes))
        except TimeoutError:
            quiet_s = self._limits.quiet_s(self._fed_bytes)
            raise ContentUnreadable(
                "The embedded engine cannot open the snapshot",
                why=f"nothing was heard of it for {quiet_s:.0f} seconds, and it was ended",
            ) from None
        if answer is None:
            raise self._death()
        if not isinstance(answer, Done):
            raise error_from(answer)
        # An fsync may wait for all that the disk has not got yet, and nobody needs what was unpacked any more.
        clear(self.scratch)
        _make_durable(self.target)
        summary = DigestSummary(answer.points, answer.vector_names, answer.content)
        digested = Digested(summary, report_from(answer.report), answer.not_finite)
        self.finished = True
        return digested

    def _death(self) -> QdrantBackupError:
        code = self._child.await_end()
        return error_of_death(code, self._child.last_words, disk_full=self._disk_is_full())

    def _disk_is_full(self) -> bool:
        # Where another collection has failed, this one is closed while its digest is still waited for, aside.
        with contextlib.suppress(FileNotFoundError):
            return shutil.disk_usage(self.scratch).free < _FULL_BELOW_BYTES
        return False


class Engine:
    """Opens snapshots in child processes.

    Args:
        scratch: a directory for unpacked snapshots, made where missing. It needs the room that a snapshot's files
            take, and should not be the backup directory's only free space.
        silence_s: how long a child may go without a sign of life; opening an archive in one call gets a second per
            4 MB on top.
        headroom_bytes: how much address space a child gets beyond the files that it maps.
        halve_from_bytes: from which size on a shard is unpacked twice and read by two processes, where there are two
            cores and the disk has room to spare.
        with_indexes: open payload indexes too. Without them opening is several times faster for collections that the
            optimizer has not indexed yet, and a damaged payload index goes unnoticed.
    """

    def __init__(
        self,
        *,
        scratch: Path,
        silence_s: float = 300.0,
        headroom_bytes: int = 1 << 30,
        halve_from_bytes: int = 32 << 20,
        with_indexes: bool = True,
    ) -> None:
        self._scratch = scratch
        self._limits = Limits(headroom_bytes=headroom_bytes, silence_s=silence_s, halve_from_bytes=halve_from_bytes)
        self._with_indexes = with_indexes

    @contextlib.contextmanager
    def open_digest(self, target: Path, *, name: str = "the archive") -> Generator[DigestSink]:
        """Start a child that will digest an archive; it gets ready while the archive is still being made.

        Leaving the context ends the child, removes what was unpacked, and removes the target unless `finish` returned.

        Args:
            target: the digest's path, where nothing must stand yet.
            name: what to call the archive in messages.

        Raises:
            NotWritable: no scratch directory, or no process, could be had, or an unfinished target cannot be removed.
        """
        with private_directory(self._scratch) as scratch:
            _create(target)
            job = Job(name, str(scratch), str(target.absolute()), self._limits, self._with_indexes)
            sink = None
            try:
                with contextlib.closing(_started(job)) as child:
                    sink = DigestSink(child, job)
                    yield sink
            finally:
                if sink is None or not sink.finished:
                    _remove(target)

    def digest_file(self, archive: Path, target: Path, progress: Progress = NO_PROGRESS) -> Digested:
        """The digest of an archive on disk; raises as `DigestSink.finish` does.

        Raises:
            NotWritable: the archive cannot be read.
        """
        with self.open_digest(target, name=archive.name) as sink:
            try:
                with archive.open("rb", buffering=0) as stream:
                    progress.begin(f"Reading {archive.name}", archive.stat().st_size)
                    while chunk := stream.read(_READ_BYTES):
                        sink.write(chunk)
                        progress.advance(len(chunk))
            except OSError as error:
                raise NotWritable(f"{archive} cannot be read", why=str(error)) from error
            finally:
                progress.end()
            return sink.finish()
