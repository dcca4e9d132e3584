"""Archiving files as the server does: those with holes become old-GNU sparse members, segments archives of their own.

A member's size is known before its first byte is written, so archives can be nested, streamed and hashed in one pass.
Whatever is archived must not change between `FileMember.of` and the last chunk.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from qdrant_backup.archive.tar import END_BLOCKS, file_header, file_member, padding, sparse_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["BytesMember", "FileMember", "Member", "NestedMember", "chunks_of", "size_of"]

_CHUNK = 1 << 20


def _extents(descriptor: int, size: int) -> tuple[tuple[int, int], ...]:
    """Where the file has data, by SEEK_HOLE; the whole of it where the system cannot tell."""
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size:
            try:
                start = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError:
                break
            at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
            found.append((start, at - start))
    except (AttributeError, OSError):
        return ((0, size),)
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class FileMember:
    """A file on disk; sparse where it has holes."""

    path: Path
    header: bytes
    extents: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, name: str, path: Path) -> FileMember:
        """The file as it is now."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            extents = _extents(file.fileno(), size)
        whole = size == 0 or extents == ((0, size),)
        header = file_header(name, size) if whole else sparse_header(name, size, extents)
        return cls(path, header, extents)

    @property
    def _stored(self) -> int:
        return sum(length for _, length in self.extents)

    def chunks(self) -> Iterator[bytes]:
        """Header, data, padding."""
        yield self.header
        with self.path.open("rb") as file:
            for offset, length in self.extents:
                file.seek(offset)
                left = length
                while left:
                    chunk = file.read(min(left, _CHUNK))
                    if not chunk:
                        message = f"{self.path.name} shrank while it was archived"
                        raise OSError(message)
                    left -= len(chunk)
                    yield chunk
        yield padding(self._stored)

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        return len(self.header) + self._stored + len(padding(self._stored))


@dataclasses.dataclass(frozen=True)
class BytesMember:
    """A member made of a few bytes."""

    name: str
    data: bytes

    def chunks(self) -> Iterator[bytes]:
        """Header, data, padding."""
        yield file_member(self.name, self.data)

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        return len(file_member(self.name, self.data))


@dataclasses.dataclass(frozen=True)
class NestedMember:
    """An archive as a member of another."""

    name: str
    members: tuple[Member, ...]

    def chunks(self) -> Iterator[bytes]:
        """Header, the whole inner archive; its size is a multiple of the block, so nothing is padded."""
        yield file_header(self.name, size_of(self.members))
        yield from chunks_of(self.members)

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        inner = size_of(self.members)
        return len(file_header(self.name, inner)) + inner


Member = FileMember | BytesMember | NestedMember


def size_of(members: Sequence[Member]) -> int:
    """Bytes of the archive of these members, its end included."""
    return sum(member.size for member in members) + len(END_BLOCKS)


def chunks_of(members: Sequence[Member]) -> Iterator[bytes]:
    """The archive of these members."""
    for member in members:
        yield from member.chunks()
    yield END_BLOCKS
