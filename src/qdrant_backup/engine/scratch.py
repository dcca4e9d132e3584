"""Private directories for what is unpacked, removed by their owner or, when it was killed, by the next one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.errors import InsufficientSpace, NotWritable

if TYPE_CHECKING:
    from collections.abc import Generator

    from qdrant_backup.errors import QdrantBackupError

try:
    import fcntl
except ImportError:  # Windows: nobody can tell there whether an owner lives, so what it left stays.
    fcntl = None

__all__ = ["clear", "is_private", "not_made", "private_directory"]

_PREFIX = "qdrant-backup-open-"
_UNKNOWN = -1
_NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def not_made(what: str, error: OSError) -> QdrantBackupError:
    """What it means to the user that a file or directory cannot be made: no room, or no right.

    Args:
        what: the sentence that says so.
        error: the system's reason.
    """
    return (InsufficientSpace if error.errno in _NO_SPACE else NotWritable)(what, why=str(error))


def is_private(directory: Path) -> bool:
    """Whether it is one of these directories, which nobody but its owner and a sweep may remove."""
    return directory.name.startswith(_PREFIX)


def _claim(directory: Path) -> int:
    """A lock on the directory that ends with this process; `_UNKNOWN` where another one holds it or none can be had."""
    if fcntl is None:
        return _UNKNOWN
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return _UNKNOWN
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return _UNKNOWN
    return descriptor


def _sweep(root: Path) -> None:
    """Remove the directories whose owners are dead."""
    for left in root.glob(f"{_PREFIX}*"):
        claim = _claim(left)
        if claim != _UNKNOWN:
            shutil.rmtree(left, ignore_errors=True)
            os.close(claim)


def _made(root: Path) -> tuple[Path, int]:
    # A sweep elsewhere may take a new directory for an old one in the moment before it is claimed.
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        claim = _claim(directory)
        if directory.is_dir():
            return directory, claim
        if claim != _UNKNOWN:
            os.close(claim)


@contextlib.contextmanager
def private_directory(root: Path) -> Generator[Path]:
    """A new directory, mode 0700, below `root` (made where missing), removed with all it holds at the end.

    Raises:
        NotWritable, InsufficientSpace: there is no making it.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(root)
        directory, claim = _made(root)
    except OSError as error:
        raise not_made(f"No scratch directory can be made in {root}", error) from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if claim != _UNKNOWN:
            os.close(claim)


def clear(directory: Path) -> None:
    """Remove the directories in a private directory before its end; what cannot be removed yet goes with it."""
    for left in directory.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
