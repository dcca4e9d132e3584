"""Unpacks a snapshot into a directory in which the embedded engine can open it.

Files keep their holes, get mode 0600 and are only ever created, never opened: the archive is hostile input until the walk
has ended. Nothing is fsynced, since what is unpacked here can be unpacked again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qdrant_backup.archive.walk import ArchiveWalker, Visitor
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.archive.walk import Member

__all__ = ["Unpacker", "shard_directories", "unpack_archive"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_CLOSED = -1


def _keep_all(_name: str) -> bool:
    return True


class Unpacker(Visitor):
    """Writes the members that a walk reports below a directory.

    Args:
        directory: an existing directory that nobody else writes to.
        wanted: says of a member's name whether to unpack it; all by default.

    Attributes:
        apparent_bytes: the sizes of the files written so far, holes included; what mapping them all takes.
    """

    def __init__(self, directory: Path, wanted: Callable[[str], bool] = _keep_all) -> None:
        self.apparent_bytes = 0
        self._directory = directory
        self._wanted = wanted
        self._made = {directory}
        self._file = _CLOSED
        self._size = 0

    def member(self, member: Member) -> None:
        """Create the member's directory or file.

        Raises:
            IntegrityFailed: its name leads out of the directory, or is taken.
        """
        if not member.name or not self._wanted(member.name):
            return
        path = self._place(member.name)
        try:
            if member.is_directory:
                self._make(path)
                return
            self._make(path.parent)
            self._file = os.open(path, _CREATE, 0o600)
        except (FileExistsError, NotADirectoryError):
            raise IntegrityFailed("The snapshot is damaged", why=f"{member.name!r} occurs twice in it") from None
        self._size = member.size_bytes

    def data(self, offset: int, chunk: memoryview) -> None:
        """Write a piece of the current file; what lies between pieces stays a hole."""
        if self._file == _CLOSED:
            return
        os.lseek(self._file, offset, os.SEEK_SET)
        rest = chunk
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def end_member(self) -> None:
        """Give the file its full size, which may end in a hole."""
        if self._file == _CLOSED:
            return
        os.ftruncate(self._file, self._size)
        self.apparent_bytes += self._size
        self.close()

    def close(self) -> None:
        """Close the file that a broken walk left open."""
        if self._file != _CLOSED:
            os.close(self._file)
            self._file = _CLOSED

    def _make(self, directory: Path) -> None:
        if directory not in self._made:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(directory)

    def _place(self, name: str) -> Path:
        parts = name.split("/")
        if any(part in {"", ".", ".."} or "\0" in part or "\\" in part or ":" in part for part in parts):
            raise IntegrityFailed("The snapshot is hostile", why=f"a member is named {name!r}")
        return self._directory.joinpath(*parts)


def unpack_archive(
    chunks: Iterable[bytes], directory: Path, wanted: Callable[[str], bool] = _keep_all
) -> ArchiveReport:
    """Unpack a snapshot of a collection or a shard, nested segment archives included.

    A collection's files come to stand as `0/segments/<uuid>/segment.json`, `config.json`, ...; a shard's as
    `segments/<uuid>/segment.json`, ...; `shard_directories` finds what the engine can open.

    Args:
        chunks: the archive's bytes, cut anywhere.
        directory: an existing, empty directory. After an error it holds what was unpacked until then.
        wanted: says of a member's name whether to unpack it; all by default. The walk checks the others all the same.

    Raises:
        IntegrityFailed: the archive is cut, damaged or hostile.
        OSError: the disk is full or refuses.
    """
    unpacker = Unpacker(directory, wanted)
    walker = ArchiveWalker(unpacker)
    try:
        for chunk in chunks:
            walker.feed(chunk)
        return walker.finish()
    finally:
        unpacker.close()


def shard_directories(directory: Path) -> list[Path]:
    """The shards below an unpacked snapshot that have segments, by number; a shard's own snapshot is one itself."""
    if (directory / "segments").is_dir():
        return [directory]
    numbered = [child for child in directory.iterdir() if child.name.isdecimal() and (child / "segments").is_dir()]
    return sorted(numbered, key=lambda child: int(child.name))
