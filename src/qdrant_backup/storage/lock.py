"""One run at a time in a backup directory: a held `flock` on `.lock`.

The kernel drops the lock when its holder dies, however it dies, so a lock never has to be judged stale. What stands in
the file is only for the message: process ids lie across containers, and nothing is decided by them.

A lock can still be lost without notice: the file deleted, the directory replaced, the disk unmounted. So whoever is
about to destroy something asks `still_held` first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.errors import Locked, NotWritable
from qdrant_backup.layout import LOCK
from qdrant_backup.storage.files import PRIVATE_FILE, make_private_directory, writing

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from qdrant_backup.clock import Clock

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["DirectoryLock", "LockOwner"]

_BUSY = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
_MOST_BYTES = 4096
_MOST_REPLACEMENTS = 100
_WINDOWS_LOCK_AT = 1 << 30  # Windows' locks are mandatory: the byte lies behind the text, which others must read.


class LockOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote the lock file; a note for people, never a reason to act."""

    pid: int
    host: str
    command: str
    started_at: datetime

    def __str__(self) -> str:
        started = self.started_at.isoformat(timespec="seconds")
        return f"`{self.command}`, process {self.pid} on {self.host}, since {started}"


def take_descriptor_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file without waiting; False when another holds it.

    Raises:
        OSError: the filesystem has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _WINDOWS_LOCK_AT, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def open_lock_file(path: Path) -> int:
    """The lock file, created private where it is missing; `OSError` where it is a link or cannot be opened."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags, PRIVATE_FILE)


class DirectoryLock:
    """The lock of a backup directory. Take it by `with`, or by `acquire` and `release`.

    Args:
        root: the backup directory; created when it is missing.
        clock: dates the note in the lock file.
        command: what runs, as the user typed it, without secrets.

    Attributes:
        taken_over: who held it before and died without giving it back; None after an orderly end.
    """

    def __init__(self, root: Path, clock: Clock, command: str) -> None:
        self.path = root / LOCK
        self.taken_over: LockOwner | None = None
        self._root = root
        self._clock = clock
        self._command = command
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            Locked: another run holds it; the message names that run.
            NotWritable: the directory cannot be created or written, or its filesystem has no locks.
            InsufficientSpace: no room for the lock file.
        """
        make_private_directory(self._root, parents=True)
        for _ in range(_MOST_REPLACEMENTS):
            with writing(self.path):
                descriptor = open_lock_file(self.path)
            try:
                held = self._try(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if held:
                self._descriptor = descriptor
                self._sign()
                return
            os.close(descriptor)
        raise NotWritable(f"{self.path} cannot be locked", why="the file is replaced again and again")

    def _try(self, descriptor: int) -> bool:
        """Whether `descriptor` is now locked and still the file under our name; `Locked` when another has it."""
        try:
            taken = take_descriptor_lock(descriptor)
        except OSError as error:
            raise NotWritable(
                f"{self.path} cannot be locked",
                why=f"{error.strerror}: this filesystem has no file locks",
                advice="Put the backup directory on a local disk, or on NFS version 4 with locking.",
            ) from error
        if not taken:
            owner = _read_owner(descriptor)
            raise Locked(
                f"The backup directory {self._root} is in use",
                why=str(owner) if owner else "another run of qdrant-backup holds its lock",
            )
        return _is_at(descriptor, self.path)

    def _sign(self) -> None:
        """Write who we are into the file, remembering whom we find there."""
        import socket

        self.taken_over = _read_owner(self._descriptor)
        owner = LockOwner(
            pid=os.getpid(), host=socket.gethostname(), command=self._command, started_at=self._clock.now()
        )
        try:
            with writing(self.path):
                _overwrite(self._descriptor, msgspec.json.encode(owner) + b"\n")
        except BaseException:
            self.release()
            raise

    def still_held(self) -> bool:
        """Whether the lock file is still the one we hold: it was not deleted, replaced or unmounted."""
        return self._descriptor >= 0 and _is_at(self._descriptor, self.path)

    def require(self, before: str) -> None:
        """Go on only with the lock in hand; to be called right before each destructive step.

        Args:
            before: the step, for the message.

        Raises:
            Locked: the lock was lost, so another run may be at work.
        """
        if not self.still_held():
            raise Locked(
                f"The lock {self.path} was lost before the next step: {before}",
                why="its file was deleted or replaced, or the disk was unmounted, so another run may be at work",
                advice="Make sure that no other run is active and the disk is mounted, then run the command again.",
            )

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held. The file stays: deleting it would let two runs in."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError):  # The note is only for people; the lock itself goes with the descriptor.
            os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):
            _give_back(descriptor)
        with contextlib.suppress(OSError):  # It is closed all the same.
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _give_back(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _WINDOWS_LOCK_AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:  # A child that inherited the descriptor would keep the lock if it were only closed here.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _overwrite(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    while data:
        data = data[os.write(descriptor, data) :]


def _read_owner(descriptor: int) -> LockOwner | None:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return msgspec.json.decode(os.read(descriptor, _MOST_BYTES), type=LockOwner)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
