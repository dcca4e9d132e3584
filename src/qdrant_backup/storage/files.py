"""Writing that survives a power cut: the few operations on files that the storage room needs (`reading.py` has the rest).

Every error of the operating system leaves here as one of ours, with the path in it. A failed fsync is never repeated:
after one, the kernel may have dropped the dirty pages, and a second fsync that succeeds proves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from qdrant_backup.errors import InsufficientSpace, NotWritable, QdrantBackupError
from qdrant_backup.hashing import HashBeside
from qdrant_backup.storage.reading import read_blocks, reason_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from qdrant_backup.model import Checksum

try:
    import fcntl
except ImportError:  # Windows has no fcntl, and no F_FULLFSYNC either.
    fcntl = None

__all__ = [
    "DurableFile",
    "free_bytes",
    "fsync_directory",
    "make_private_directory",
    "read_blocks",
    "remove_file",
    "rename_durably",
    "write_atomically",
    "writing",
]

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
_NO_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_MOST_EMPTY_WRITES = 1000
_WRITE_BACK_BYTES = 8 << 20


def _filesystem_of(path: Path) -> Path:
    """The mount point that `path` is on, or would be on."""
    here = path.absolute()
    while here != here.parent and not (here.exists() and here.is_mount()):
        here = here.parent
    return here


def _out_of_space(path: Path, error: OSError) -> InsufficientSpace:
    why = reason_of(error)
    if error.errno == errno.EFBIG:
        why = f"{why} (a limit on the size of single files)"
    elif error.errno != errno.ENOSPC:
        why = f"{why} (this user's quota is used up)"
    elif _inodes_are_gone(path):
        why = f"{why} (the filesystem has no inodes left, so no file can be added)"
    return InsufficientSpace(f"The filesystem {_filesystem_of(path)} has no room for {path}", why=why)


def _inodes_are_gone(path: Path) -> bool:
    statvfs = getattr(os, "statvfs", None)
    if statvfs is None:
        return False
    try:
        numbers = statvfs(_nearest_existing(path))
    except OSError:
        return False
    return bool(numbers.f_files) and not numbers.f_favail


def _nearest_existing(path: Path) -> Path:
    here = path.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    return here


def write_failure(error: OSError, path: Path) -> QdrantBackupError:
    """What an `OSError` met while writing, creating, renaming or deleting `path` means to the user."""
    if error.errno in _NO_SPACE:
        return _out_of_space(path, error)
    return NotWritable(f"{path} cannot be written", why=reason_of(error))


@contextlib.contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Turn an `OSError` of the block into `InsufficientSpace` or `NotWritable` about `path`."""
    try:
        yield
    except OSError as error:
        raise write_failure(error, path) from error


def free_bytes(path: Path) -> int:
    """The bytes this user may still write on the filesystem `path` is on, or would be on once it is created.

    Raises:
        NotWritable: the filesystem does not answer.
    """
    with writing(path):
        import shutil

        return shutil.disk_usage(_nearest_existing(path)).free


def fsync_descriptor(descriptor: int) -> None:
    """Make a file's content durable; on macOS also past the drive's own cache. Raises `OSError`, once."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None and fcntl is not None:
        with contextlib.suppress(OSError):  # Network filesystems refuse it; the plain fsync below still counts.
            fcntl.fcntl(descriptor, full_sync)
            return
    os.fsync(descriptor)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable; nothing on Windows, which has no such call.

    Raises:
        NotWritable: the directory is gone, or the disk refused. It is not tried again.
        InsufficientSpace: delayed allocation found no room.
    """
    if sys.platform == "win32":
        return
    with writing(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_private_directory(path: Path, *, parents: bool = False) -> bool:
    """Create a directory that only this user may enter, whatever the umask; an existing one is left as it is.

    The last component is never a symbolic link to elsewhere when it is created here. `parents` is for the backup
    directory itself only: below it a missing parent means that the disk went away, and recreating it would fill
    another one.

    Returns:
        Whether it was created.

    Raises:
        NotWritable: it cannot be created, or a file or (without `parents`) a link stands in its place.
        InsufficientSpace: no room for it.
    """
    with writing(path):
        try:
            if parents:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(PRIVATE_DIRECTORY)
        except FileExistsError as error:
            if not parents and path.is_symlink():
                raise NotWritable(f"{path} is a symbolic link", why="nothing is written through one") from error
            if path.is_dir():
                return False
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
        path.chmod(PRIVATE_DIRECTORY)  # The umask can only have taken bits away; the owner needs all three.
        return True


def rename_durably(source: Path, target: Path) -> None:
    """Rename within one directory, replacing a file of that name, and make the new name durable.

    Raises:
        NotWritable: either step failed.
        InsufficientSpace: no room for the name.
    """
    with writing(target):
        source.replace(target)
    fsync_directory(target.parent)


def remove_file(path: Path) -> None:
    """Delete a file durably; nothing happens when it is not there.

    Raises:
        NotWritable: it cannot be deleted.
    """
    with writing(path):
        path.unlink(missing_ok=True)
    fsync_directory(path.parent)


class DurableFile:
    """A new file, private from its first byte, whose content is on disk once `close` has returned.

    Leave it by `with`: an exception inside closes it without the fsync, since what was written is thrown away then.

    Args:
        path: must not exist; its directory must.
        mode: the file's mode, whatever the umask.

    Raises:
        NotWritable: it exists, or cannot be created.
        InsufficientSpace: no room, from here or from any later call.

    Attributes:
        path: where it lies.
        size_bytes: how much has been written.
    """

    def __init__(self, path: Path, mode: int = PRIVATE_FILE) -> None:
        self.path = path
        self.size_bytes = 0
        self._handed_bytes = 0
        self._hash = HashBeside()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC | _BINARY
        with writing(path):
            self._descriptor = os.open(path, flags, mode)
            if hasattr(os, "fchmod"):
                os.fchmod(self._descriptor, mode)

    @property
    def sha256(self) -> Checksum:
        """The SHA-256 of what has been written so far."""
        return self._hash.checksum()

    @property
    def closed(self) -> bool:
        """Whether it has been closed, durably or not."""
        return self._descriptor < 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`; short writes are continued.

        Returns:
            The number of bytes, always all of them.
        """
        view = memoryview(data).cast("B")
        left, empty_writes = view, 0
        while left:
            try:
                written = os.write(self._descriptor, left)
            except BlockingIOError:  # Some network and FUSE filesystems pass EAGAIN through; nothing was written.
                written = 0
            except OSError as error:
                raise write_failure(error, self.path) from error
            empty_writes = 0 if written else empty_writes + 1
            if empty_writes > _MOST_EMPTY_WRITES:
                raise NotWritable(f"{self.path} cannot be written", why="the filesystem takes no more bytes")
            left = left[written:]
        self._hash.update(data)
        self.size_bytes += len(view)
        self._write_back()
        return len(view)

    def _write_back(self) -> None:
        """Have the kernel begin to write what it holds, so that the fsync at the end waits only for the last of it."""
        size_bytes = self.size_bytes - self._handed_bytes
        if size_bytes >= _WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
            # On Linux this advice starts the writing and returns. Nobody reads these pages soon, so they may leave the cache.
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, self._handed_bytes, size_bytes, os.POSIX_FADV_DONTNEED)
            self._handed_bytes = self.size_bytes

    def restart(self) -> None:
        """Forget all that was written: for a download that has to begin again."""
        with writing(self.path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.ftruncate(self._descriptor, 0)
        self.size_bytes = self._handed_bytes = 0
        self._hash.close()
        self._hash = HashBeside()

    def close(self) -> None:
        """Make the content durable and close; a second call does nothing."""
        if self._descriptor < 0:
            return
        try:
            with writing(self.path):
                fsync_descriptor(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without making anything durable."""
        self._hash.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with writing(self.path):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(QdrantBackupError):  # The exception under way says more.
                self.abandon()


TEMPORARY_SUFFIX = ".tmp"
"""What `write_atomically` leaves behind when it is killed ends so; `BackupDirectory.sweep` removes it."""


def write_atomically(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Put `data` under `path` in one step: whoever reads sees the old content or the new, after a power cut too.

    The temporary file lies beside it, since a rename does not cross filesystems.

    Raises:
        NotWritable: it cannot be written; the old content stands.
        InsufficientSpace: no room; the old content stands.
    """
    hidden = path.name if path.name.startswith(".") else f".{path.name}"
    temporary = path.with_name(f"{hidden}.{os.urandom(6).hex()}{TEMPORARY_SUFFIX}")
    try:
        with DurableFile(temporary, mode) as file:
            file.write(data)
        rename_durably(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
