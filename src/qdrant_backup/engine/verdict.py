"""Judges what went wrong: is the snapshot damaged, or can this engine only not read it?

The words are those of Qdrant's storage engine (`qdrant-edge-py` 0.9.0). What is not recognised counts as damage when it
happens, since an archive whose format the engine knows and whose files it cannot read will not restore either.
"""

from __future__ import annotations

import errno
import re
import signal

from qdrant_backup.engine.wire import Failed
from qdrant_backup.errors import (
    ContentUnreadable,
    InsufficientSpace,
    IntegrityFailed,
    InternalError,
    NotWritable,
    QdrantBackupError,
)

__all__ = ["error_from", "error_of_death", "failed_from"]

_FORMAT = re.compile(
    r"RocksDB|newer than application version|unknown (?:variant|field)|missing field|not supported|unsupported"
    r"|[Ii]ncompatible config|no segments were loaded|Failed to migrate",
)
_NO_SPACE = re.compile(r"No space left on device|os error 28|os error 122|disk quota", re.IGNORECASE)
_LONGEST_TEXT = 2000
_NTSTATUS_ERROR = 0xC0000000

_DAMAGED = "The snapshot is damaged"
_UNREADABLE = "The embedded engine cannot open the snapshot"


def failed_from(error: BaseException) -> Failed:
    """The answer for an exception in the child; a panic of the engine's derives from `BaseException`."""
    text = str(error)[:_LONGEST_TEXT] or type(error).__name__
    if isinstance(error, ContentUnreadable):
        return Failed("unreadable", error.what, error.why)
    if isinstance(error, QdrantBackupError):
        return Failed("damaged", error.what, error.why)
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return Failed("space" if full else "input-output", "The snapshot could not be unpacked", text)
    if isinstance(error, MemoryError):
        return Failed("damaged", _DAMAGED, "reading it takes more memory than its size explains")
    if _NO_SPACE.search(text):
        return Failed("space", "The snapshot could not be opened", text)
    # The engine raises `Exception` itself and PyO3's panic; any other class is a mistake on this side.
    if type(error) is not Exception and type(error).__name__ != "PanicException":
        return Failed("bug", "The engine's child process failed", f"{type(error).__name__}: {text}")
    if type(error) is Exception and _FORMAT.search(text):
        return Failed("unreadable", _UNREADABLE, text)
    return Failed("damaged", _DAMAGED, f"the engine says: {text}")


def error_from(failed: Failed) -> QdrantBackupError:
    """The error that the parent raises for the child's answer."""
    kinds: dict[str, type[QdrantBackupError]] = {
        "damaged": IntegrityFailed,
        "unreadable": ContentUnreadable,
        "space": InsufficientSpace,
        "input-output": NotWritable,
        "bug": InternalError,
        "port": NotWritable,
    }
    return kinds[failed.kind](failed.what, why=failed.why)


def error_of_death(code: int, last_words: str, *, disk_full: bool) -> QdrantBackupError:
    """The error for a child that ended without an answer.

    Args:
        code: its exit code, or the number of the signal that killed it, negative, as `subprocess` has it.
        last_words: the end of its standard error.
        disk_full: the scratch directory's disk has no room, in which case writing to a mapped file kills as well.
    """
    # What follows is the interpreter's own state, of use to nobody who reads this.
    said = last_words.partition("Fatal Python error")[0].strip()
    said = f": {said}" if said else ""
    if -code == getattr(signal, "SIGKILL", 9):
        return ContentUnreadable(_UNREADABLE, why="its process was killed, by the system for lack of memory or by hand")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        if disk_full:
            return InsufficientSpace("The snapshot could not be opened", why=f"its process died of {name}, disk full")
        if -code == signal.SIGTERM:
            return ContentUnreadable(_UNREADABLE, why="its process was told to end")
        return IntegrityFailed(_DAMAGED, why=f"the engine died of {name} while reading it{said}")
    if code >= _NTSTATUS_ERROR:
        return IntegrityFailed(_DAMAGED, why=f"the engine died of error {code:#x} while reading it{said}")
    return InternalError("The engine's child process failed", why=f"it ended with code {code}{said}")
