"""Files below the installation directory, reached without following a link, and replaced in one step.

The installation belongs to the user, but what writes into it may not: a link planted in place of `docker` or `.env` must
not make us read or overwrite a file elsewhere. Where the system can walk by descriptors (everywhere but Windows), each
component is opened below the one before it, so nothing can be swapped between looking and opening.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from qdrant_backup.errors import ConfigFailed

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Tree"]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_READ_FLAGS = os.O_RDONLY | _NOFOLLOW | _CLOEXEC | _BINARY | getattr(os, "O_NONBLOCK", 0)
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC | _BINARY
_HAS_DESCRIPTORS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_PRIVATE_DIRECTORY = 0o700


class Folder:
    """An open directory below the installation; the names given to its methods are single components."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else str(self.path / name)

    def status(self, name: str) -> os.stat_result | None:
        """What is there under that name, a link itself; None when nothing is."""
        try:
            return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str) -> int:
        """A descriptor of the regular file of that name; `OSError` (ELOOP for a link) when it is none."""
        if not _NOFOLLOW:
            found = self.status(name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                raise _link(self.path / name)
        descriptor = os.open(self._at(name), _READ_FLAGS, dir_fd=self._descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(self.path / name))

    def create(self, name: str, data: bytes, mode: int, owner: os.stat_result | None = None) -> None:
        """A new file with that content, durable, of exactly that mode; `FileExistsError` when the name is taken.

        `owner` gives its user and group, as far as this user may hand files on: services run by others read them too.
        """
        descriptor = os.open(self._at(name), _CREATE_FLAGS, mode & 0o600, dir_fd=self._descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if owner is not None and hasattr(os, "fchown"):
                    with contextlib.suppress(PermissionError):
                        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(name)
            raise

    def replace(self, name: str, data: bytes, mode: int, owner: os.stat_result | None = None) -> None:
        """The file of that name gets that content in one step; a link of that name is replaced, never followed."""
        temporary = f".{name.lstrip('.')}.{secrets.token_hex(6)}.tmp"
        self.create(temporary, data, mode, owner)
        try:
            os.replace(self._at(temporary), self._at(name), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(temporary)
            raise
        self.sync()

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.unlink(self._at(name), dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make the names in it durable."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)


class Tree:
    """The files below a directory. The directory itself may be a link: the user named it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def folder_of(self, relative: str, *, create: bool = False) -> Generator[tuple[Folder, str], None, None]:
        """The folder of a file below the root, and the file's name in it.

        Args:
            relative: the file, with slashes; already checked not to climb.
            create: make missing folders (0700), the root included.

        Raises:
            OSError: a folder is missing, a link (ELOOP), or no folder.
        """
        *folders, name = relative.split("/")
        if create:
            self.root.mkdir(_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if not _HAS_DESCRIPTORS:
            yield Folder(_walk_by_path(self.root, folders, create=create), None), name
            return
        descriptor = _walk_by_descriptor(self.root, folders, create=create)
        try:
            yield Folder(self.root.joinpath(*folders), descriptor), name
        finally:
            os.close(descriptor)

    def read(self, relative: str, most_bytes: int) -> tuple[bytes, int] | None:
        """A file's content and mode; None when it is not there.

        Raises:
            ConfigFailed: it is a link or behind one, no regular file, unreadable, or larger than `most_bytes`.
        """
        path = self.root / relative
        try:
            with self.folder_of(relative) as (folder, name), os.fdopen(folder.open(name), "rb") as file:
                data = file.read(most_bytes + 1)
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, path, "read") from error
        if len(data) > most_bytes:
            raise ConfigFailed(
                f"{path} cannot be read", why=f"it has more than {most_bytes} bytes, unlike a config file"
            )
        return data, mode


def failure(error: OSError, path: Path, verb: str) -> ConfigFailed:
    """What an `OSError` about a config file means to the user."""
    if error.errno == errno.ELOOP:
        return ConfigFailed(
            f"{path} cannot be {'read' if verb == 'read' else 'written'}",
            why="it is a symbolic link, or a folder on the way is; links are not followed",
            advice="Replace the link by the file it points to, or handle this file by hand.",
        )
    return ConfigFailed(
        f"{path} cannot be {'read' if verb == 'read' else 'written'}",
        why=error.strerror or type(error).__name__,
        advice=f"Give this user the right to {verb} it.",
    )


def _link(path: Path) -> OSError:
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _refuse_link(folder: str, here: int, root: Path) -> None:
    if stat.S_ISLNK(os.stat(folder, dir_fd=here, follow_symlinks=False).st_mode):
        raise _link(root / folder)


def _walk_by_descriptor(root: Path, folders: list[str], *, create: bool) -> int:
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
    try:
        for folder in folders:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, _PRIVATE_DIRECTORY, dir_fd=here)
            _refuse_link(folder, here, root)
            there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW | _CLOEXEC, dir_fd=here)
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here


def _walk_by_path(root: Path, folders: list[str], *, create: bool) -> Path:
    here = root
    for folder in folders:
        here /= folder
        if create:
            here.mkdir(_PRIVATE_DIRECTORY, exist_ok=True)
        if here.is_symlink():
            raise _link(here)
    return here
