"""Reading that trusts nothing: no link is followed inside a backup, no pipe waited for, nothing read without a bound.

A disk that fails while it is read is `IntegrityFailed`: what it holds can no longer be told.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from qdrant_backup.errors import IntegrityFailed, NotWritable, QdrantBackupError
from qdrant_backup.model import Checksum

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

__all__ = [
    "READ_SIZE",
    "blocks_of",
    "file_sha256",
    "limited",
    "open_below",
    "open_for_reading",
    "read_blocks",
    "read_small",
    "reading",
    "sha256_of",
]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
READ_SIZE = 1 << 20
_READ_FLAGS = os.O_RDONLY | _NOFOLLOW | _CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def reason_of(error: OSError) -> str:
    """The operating system's own words."""
    return error.strerror or type(error).__name__


def read_failure(error: OSError, path: Path) -> QdrantBackupError:
    """What an `OSError` met while reading `path` means: a failing disk or a link is `IntegrityFailed`."""
    if error.errno == errno.EIO:
        return IntegrityFailed(f"{path} cannot be read", why=f"{reason_of(error)}: the disk fails")
    if error.errno == errno.ELOOP:
        return IntegrityFailed(f"{path} is a symbolic link", why="nothing in a backup is a link; it was not followed")
    if error.errno == errno.ENOENT:
        return IntegrityFailed(f"{path} is missing", why=reason_of(error))
    return NotWritable(f"{path} cannot be read", why=reason_of(error), advice="Give this user the right to read it.")


@contextlib.contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Turn an `OSError` of the block into `IntegrityFailed` or `NotWritable` about `path`."""
    try:
        yield
    except OSError as error:
        raise read_failure(error, path) from error


def open_for_reading(path: Path) -> int:
    """A descriptor of a regular file, with no link followed at its end and no pipe waited for.

    Raises:
        IntegrityFailed: it is missing, a link, or no regular file.
        NotWritable: this user may not read it.
    """
    with reading(path):
        return _regular(os.open(path, _READ_FLAGS), path)


def open_below(root: Path, relative: str) -> int:
    """As `open_for_reading`, for a file below `root` named with slashes: no link is followed on the way there either.

    `root` itself may be a link, since the user named it.
    """
    path = root / relative
    *directories, name = relative.split("/")
    with reading(path):
        if os.open not in os.supports_dir_fd:
            _refuse_links(root, directories)
            return _regular(os.open(path, _READ_FLAGS), path)
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
        try:
            for directory in directories:
                there = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW | _CLOEXEC, dir_fd=here)
                os.close(here)
                here = there
            return _regular(os.open(name, _READ_FLAGS, dir_fd=here), path)
        except NotADirectoryError:
            _refuse_links(root, directories)  # O_DIRECTORY with O_NOFOLLOW calls a link no directory.
            raise
        finally:
            os.close(here)


def _refuse_links(root: Path, directories: list[str]) -> None:
    here = root
    for directory in directories:
        here /= directory
        if here.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(here))


def _regular(descriptor: int, path: Path) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise IntegrityFailed(f"{path} is not a regular file", why="it was not read")


def blocks_of(descriptor: int, path: Path) -> Iterator[bytes]:
    """The rest of an open file in blocks of at most 1 MiB; closes it. `path` is for the message.

    Raises:
        IntegrityFailed: the disk fails.
    """
    with reading(path), os.fdopen(descriptor, "rb", buffering=0) as file:
        while block := file.read(READ_SIZE):
            yield block


def read_blocks(path: Path) -> Iterator[bytes]:
    """A regular file's bytes in blocks of at most 1 MiB; raises as `open_for_reading` and `blocks_of` do."""
    return blocks_of(open_for_reading(path), path)


def limited(blocks: Iterator[bytes], path: Path, most_bytes: int) -> bytes:
    """All blocks joined; `IntegrityFailed` when they are more than `most_bytes`."""
    kept: list[bytes] = []
    size = 0
    for block in blocks:
        kept.append(block)
        size += len(block)
        if size > most_bytes:
            raise IntegrityFailed(f"{path} is too large", why=f"it has more than {most_bytes} bytes")
    return b"".join(kept)


def read_small(path: Path, most_bytes: int) -> bytes:
    """A whole regular file of at most `most_bytes`; raises as `open_for_reading`, and `IntegrityFailed` for a larger one."""
    return limited(read_blocks(path), path, most_bytes)


def file_sha256(path: Path) -> tuple[int, Checksum]:
    """The size in bytes and the SHA-256 of a regular file, in constant memory; raises as `open_for_reading` does."""
    return sha256_of(read_blocks(path))


def sha256_of(blocks: Iterator[bytes]) -> tuple[int, Checksum]:
    """The size in bytes and the SHA-256 of what the blocks hold together."""
    hasher = hashlib.sha256()
    size = 0
    for block in blocks:
        hasher.update(block)
        size += len(block)
    return size, Checksum(hasher.hexdigest())
