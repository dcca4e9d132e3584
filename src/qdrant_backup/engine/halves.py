"""Reads one shard with two processes: the engine lets only one thread at a time give out points.

The second process opens a copy of the shard's directory, since opening writes, and reads the upper half of the ids into a
file. Both see the same points: what the digest's writer takes must ascend, and the counts must agree. Linux only, where
the second process dies with the first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from qdrant_backup.engine.not_finite import NotFinite
from qdrant_backup.engine.reading import count_points, open_shard, opened, records, reread, skip_points
from qdrant_backup.engine.verdict import failed_from
from qdrant_backup.engine.wire import Failed
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["JudgedError", "halved_blocks", "is_worth_halving"]

_SPARE_COPIES = 3
_PR_SET_PDEATHSIG = 1
_PROGRESS_BYTES = 4096


class JudgedError(Exception):
    """The second process failed and has said why."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.what)
        self.failed = failed


def is_worth_halving(stored_bytes: int, from_bytes: int, directory: Path) -> bool:
    """There is a second core, enough to read, and ample room for a copy."""
    if not sys.platform.startswith("linux") or stored_bytes < from_bytes:
        return False
    room_bytes = shutil.disk_usage(directory).free
    return len(os.sched_getaffinity(0)) > 1 and room_bytes > _SPARE_COPIES * stored_bytes


def _copy_with_holes(source: str, target: str) -> None:
    with Path(source).open("rb") as reader, Path(target).open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        at = 0
        while at < size:
            try:
                at = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            os.lseek(writer.fileno(), at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(writer.fileno(), reader.fileno(), at, end - at)
        os.ftruncate(writer.fileno(), size)


class _UpperHalf:
    """The second process, seen from the first."""

    def __init__(self, directory: Path, names: Sequence[str], scratch: Path, private: Sequence[int]) -> None:
        self.path = scratch / "records-upper"
        self._verdict = scratch / "verdict-upper"
        self._odd = scratch / "odd-upper"
        self._progress, progress = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            for descriptor in (*private, self._progress):
                os.close(descriptor)
            self._run(directory, names, progress, parent)
        os.close(progress)

    def _run(self, directory: Path, names: Sequence[str], progress: int, parent: int) -> NoReturn:
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            shard = open_shard(directory)
            points = count_points(shard)
            lower = points - points // 2
            odd = NotFinite()
            with opened(self.path, os.O_CREAT | os.O_EXCL) as stream:
                for block in records(shard, names, odd, skip_points(shard, lower)) if points > lower else ():
                    stream.writelines(block)
                    os.write(progress, b".")
            self._odd.write_bytes(msgspec.json.encode(odd.counts))
        except BaseException as error:  # noqa: BLE001 - the engine's panics are no `Exception`
            self._verdict.write_bytes(msgspec.json.encode(failed_from(error)))
            os._exit(1)
        os._exit(0)

    def await_end(self, alive: Callable[[], None]) -> dict[str, int]:
        """Wait for its records, and say what was odd in them.

        It may die, and then this process dies of the same signal, or say why it failed.
        """
        while os.read(self._progress, _PROGRESS_BYTES):
            alive()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if status:
            raise JudgedError(msgspec.json.decode(self._verdict.read_bytes(), type=Failed))
        return msgspec.json.decode(self._odd.read_bytes(), type=dict[str, int])

    def close(self) -> None:
        """Kill it, unless it has ended."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        os.close(self._progress)


def halved_blocks(
    directory: Path,
    names: Sequence[str],
    scratch: Path,
    alive: Callable[[], None],
    private: Sequence[int],
    odd: NotFinite,
) -> Generator[list[bytes]]:
    """The records of one shard in ascending order, read by two processes.

    Args:
        directory: the unpacked shard.
        names: the collection's vector names, sorted.
        scratch: a directory for the copy and the upper half's records.
        alive: called every few thousand points.
        private: file descriptors that the second process must not keep.
        odd: sees every vector.

    Raises:
        IntegrityFailed: the two did not find the same number of points.
        JudgedError: the second process failed.
    """
    copy = scratch / "copy"
    shutil.copytree(directory, copy, copy_function=_copy_with_holes)
    with contextlib.closing(_UpperHalf(copy, names, scratch, private)) as upper:
        shard = open_shard(directory)
        points = count_points(shard)
        found = 0
        for block in records(shard, names, odd, most=max(1, points - points // 2)):
            alive()
            found += len(block)
            yield block
        odd.add(upper.await_end(alive))
        with opened(upper.path, 0) as stream:
            for block in reread(stream, names):
                alive()
                found += len(block)
                yield block
    if found != points:
        raise IntegrityFailed("The snapshot contradicts itself", why=f"it has {points} points, and {found} can be read")
