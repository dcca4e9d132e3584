"""A file that leaves the backup directory: private, complete once it has its name, and never in the place of another."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from qdrant_backup.errors import RefusedForSafety
from qdrant_backup.storage.files import TEMPORARY_SUFFIX, DurableFile, fsync_directory, rename_durably, writing

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["exported"]


@contextlib.contextmanager
def exported(path: Path, *, force: bool = False) -> Generator[DurableFile]:
    """A new file to write to, mode 0600; it gets its name when the context is left without an error.

    Until then it lies beside it under another name, which is removed when something fails.

    Args:
        path: its name; its directory must exist.
        force: take the place of a file that has that name.

    Raises:
        RefusedForSafety: there is a file of that name, before or in the end.
        NotWritable: it cannot be written.
        InsufficientSpace: there is no room for it.
    """
    if not force and os.path.lexists(path):
        raise _taken(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with DurableFile(temporary) as file:
            yield file
        if force:
            rename_durably(temporary, path)
        else:
            _publish_new(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _publish_new(temporary: Path, path: Path) -> None:
    """A second name for the file, which fails where that name is taken; a rename would replace what has it."""
    with writing(path):
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # A filesystem without hard links.
            if os.path.lexists(path):
                raise _taken(path) from None
            temporary.rename(path)
    fsync_directory(path.parent)


def _taken(path: Path) -> RefusedForSafety:
    return RefusedForSafety(
        f"{path} was not written", why="there is a file of that name", advice="Choose another name, or add --force."
    )
