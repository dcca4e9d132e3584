"""Writing snapshot archives: uncompressed GNU tar, files with holes as old-GNU sparse members, as the server does.

A member's size is known before its first byte is written, so archives can be nested, streamed and hashed in one pass.
Whatever is archived must not change between `FileMember.of` and the last chunk.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["END", "BytesMember", "FileMember", "Member", "NestedMember", "chunks_of", "size_of"]

BLOCK = 512
END = bytes(2 * BLOCK)
_CHUNK = 1 << 20
_LONGEST_NAME = 100
_IN_HEADER = 4
_IN_EXTENSION = 21


def _number(value: int, digits: int) -> bytes:
    """A number in a header's field: octal while it fits, else GNU's base 256."""
    if value < 8 ** (digits - 1):
        return b"%0*o\0" % (digits - 1, value)
    return b"\x80" + value.to_bytes(digits - 1, "big")


def _padding(size: int) -> int:
    return -size % BLOCK


@dataclasses.dataclass(frozen=True)
class _Entry:
    name: bytes
    size: int
    kind: bytes = b"0"
    mtime: int = 0
    mode: int = 0o644
    extents: tuple[tuple[int, int], ...] = ()
    real_size: int = 0

    def header(self) -> bytes:
        """The header with whatever must precede it (a long name) or follow it (more extents)."""
        long_name = b""
        if len(self.name) > _LONGEST_NAME:
            size = len(self.name) + 1
            record = _Entry(b"././@LongLink", size, b"L", mode=0o644)
            long_name = record.header() + self.name + bytes(1 + _padding(size))
        block = bytearray(BLOCK)
        name = self.name[:_LONGEST_NAME]
        block[: len(name)] = name
        for at, value, digits in (
            (100, self.mode, 8),
            (108, 0, 8),
            (116, 0, 8),
            (124, self.size, 12),
            (136, self.mtime, 12),
        ):
            block[at : at + digits] = _number(value, digits)
        block[148:156] = b" " * 8
        block[156:157] = self.kind
        block[257:265] = b"ustar  \0"
        tail = self._sparse_map(block) if self.kind == b"S" else b""
        block[148:156] = b"%06o\0 " % sum(block)
        return long_name + bytes(block) + tail

    def _sparse_map(self, block: bytearray) -> bytes:
        entries = [_number(offset, 12) + _number(length, 12) for offset, length in self.extents]
        first, rest = entries[:_IN_HEADER], entries[_IN_HEADER:]
        block[386 : 386 + 24 * len(first)] = b"".join(first)
        block[482] = 1 if rest else 0
        block[483:495] = _number(self.real_size, 12)
        more = bytearray()
        while rest:
            part, rest = rest[:_IN_EXTENSION], rest[_IN_EXTENSION:]
            extension = b"".join(part).ljust(24 * _IN_EXTENSION, b"\0") + (b"\1" if rest else b"\0")
            more += extension.ljust(BLOCK, b"\0")
        return bytes(more)


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
    entry: _Entry

    @classmethod
    def of(cls, name: str, path: Path) -> FileMember:
        """The file as it is now."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size, mtime = status.st_size, int(status.st_mtime)
            extents = _extents(file.fileno(), size)
        if extents == ((0, size),) or size == 0:
            return cls(path, _Entry(name.encode(), size, mtime=mtime))
        stored = sum(length for _, length in extents)
        # The reader learns the file's length from the last extent, so a file that ends in a hole needs an empty one.
        if not extents or sum(extents[-1]) < size:
            extents = (*extents, (size, 0))
        return cls(path, _Entry(name.encode(), stored, b"S", mtime, extents=extents, real_size=size))

    def chunks(self) -> Iterator[bytes]:
        """Header, data, padding."""
        yield self.entry.header()
        with self.path.open("rb") as file:
            for offset, length in self.entry.extents or ((0, self.entry.size),):
                file.seek(offset)
                left = length
                while left:
                    chunk = file.read(min(left, _CHUNK))
                    if not chunk:
                        message = f"{self.path.name} shrank while it was archived"
                        raise OSError(message)
                    left -= len(chunk)
                    yield chunk
        yield bytes(_padding(self.entry.size))

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        return len(self.entry.header()) + self.entry.size + _padding(self.entry.size)


@dataclasses.dataclass(frozen=True)
class BytesMember:
    """A member made of a few bytes."""

    name: str
    data: bytes

    def chunks(self) -> Iterator[bytes]:
        """Header, data, padding."""
        yield _Entry(self.name.encode(), len(self.data)).header() + self.data + bytes(_padding(len(self.data)))

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        return len(_Entry(self.name.encode(), len(self.data)).header()) + len(self.data) + _padding(len(self.data))


@dataclasses.dataclass(frozen=True)
class NestedMember:
    """An archive as a member of another."""

    name: str
    members: tuple[Member, ...]

    def _entry(self) -> _Entry:
        return _Entry(self.name.encode(), size_of(self.members))

    def chunks(self) -> Iterator[bytes]:
        """Header, the whole inner archive; its size is a multiple of the block, so nothing is padded."""
        yield self._entry().header()
        yield from chunks_of(self.members)

    @property
    def size(self) -> int:
        """Bytes it takes in the archive."""
        entry = self._entry()
        return len(entry.header()) + entry.size


Member = FileMember | BytesMember | NestedMember


def size_of(members: Sequence[Member]) -> int:
    """Bytes of the archive of these members, its end included."""
    return sum(member.size for member in members) + len(END)


def chunks_of(members: Sequence[Member]) -> Iterator[bytes]:
    """The archive of these members."""
    for member in members:
        yield from member.chunks()
    yield END
