"""One tar as it streams: header blocks become entries, data passes through as slices of the caller's own chunks.

It refuses what no honest snapshot holds, whatever a lenient reader would make of it: names that climb or are
absolute, unknown member types, sizes that only a bomb has, anything behind the end. What the members must be is not
known here; `shape.py` knows.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, Protocol

from qdrant_backup.archive import tar
from qdrant_backup.errors import IntegrityFailed

__all__ = ["Entry", "EntryKind", "EntrySink", "Limits", "TarParser", "checked_name"]

EntryKind = Literal["file", "directory", "sparse"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an archive may ask for before it counts as hostile. The defaults are far above what Qdrant writes.

    Attributes:
        members: entries in one archive, those of nested ones included.
        name_bytes: a member's name, as UTF-8.
        hole_bytes: what one sparse member may claim beyond the bytes stored for it.
        total_hole_bytes: the same for all members together.
        extents: stored runs of one sparse member.
        document_bytes: a JSON document that is read (config, payload indexes, segment state).
    """

    members: int = 1_000_000
    name_bytes: int = 1024
    hole_bytes: int = 64 << 30
    total_hole_bytes: int = 4 << 40
    extents: int = 1 << 18
    document_bytes: int = 16 << 20


@dataclasses.dataclass(frozen=True)
class Entry:
    """A member as its header describes it.

    Attributes:
        name: the checked name, without `./` and without a directory's trailing slash; empty for the root itself.
        kind: file, directory, or a sparse file.
        size_bytes: the file's size, holes included.
        stored_bytes: how many bytes the archive holds of it.
        mode: permission bits.
        extents: (offset, length) of a sparse file's stored runs, ascending and none empty; None for other members.
        blocks: the header and its extension blocks as they stood in the archive.
    """

    name: str
    kind: EntryKind
    size_bytes: int
    stored_bytes: int
    mode: int
    extents: tuple[tuple[int, int], ...] | None
    blocks: bytes


class EntrySink(Protocol):
    """Where a `TarParser` sends what it finds."""

    def entry(self, entry: Entry) -> None:
        """A member begins."""
        ...

    def data(self, view: memoryview) -> None:
        """The next stored bytes of the member; the view is only valid during the call."""
        ...

    def end_entry(self) -> None:
        """The member's stored bytes are complete."""
        ...


_DRIVE = re.compile(r"[A-Za-z]:")
_COMPONENT_BYTES = 255


def checked_name(raw: bytes, *, longest: int) -> str:
    """A member's raw name as a relative path without `.` components or a trailing slash.

    Raises:
        ValueError: it is not UTF-8, absolute, too long, climbs with `..`, or has a backslash, a NUL or an empty part.
    """
    if len(raw) > longest:
        raise ValueError(f"a member's name has {len(raw)} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the member name {raw!r} is not UTF-8") from None
    if not name:
        raise ValueError("a member has no name")
    if name.startswith("/") or _DRIVE.match(name):
        raise ValueError(f"the member name {name!r} is absolute")
    if "\\" in name or "\0" in name:
        raise ValueError(f"the member name {name!r} has a backslash or a NUL in it")
    parts = [part for part in name.removesuffix("/").split("/") if part != "."]
    for part in parts:
        if not part or part == ".." or len(part.encode()) > _COMPONENT_BYTES:
            reason = "climbs out of the archive" if part == ".." else "has an empty or an overlong part"
            raise ValueError(f"the member name {name!r} {reason}")
    return "/".join(parts)


def _checked_extents(raw: list[tuple[int, int]], *, stored_bytes: int, size_bytes: int) -> tuple[tuple[int, int], ...]:
    """The extents that hold data, after the checks which the server's reader makes (`tar` crate, `archive.rs`)."""
    reached, stored = 0, 0
    for offset, length in raw:
        if offset < reached:
            raise ValueError("a sparse member's runs overlap or do not ascend")
        if length and stored % tar.BLOCK_BYTES:
            raise ValueError("a sparse member has a run that ends within a block")
        reached, stored = offset + length, stored + length
    if reached != size_bytes or stored != stored_bytes:
        raise ValueError("a sparse member's runs do not add up to its size")
    return tuple(extent for extent in raw if extent[1])


class TarParser:
    """Parses one tar from chunks of any size and tells a sink; `finish` proves that it was whole.

    Args:
        sink: takes the members.
        limits: what counts as hostile.
        name: what to call the archive in messages.
        nested: it is a segment's archive, which Qdrant writes without end blocks (its builder is dropped before it
            could write them; `tar_ext.rs`); the size of the member that holds it then says where it ends.

    Raises:
        IntegrityFailed: from `feed` or `finish`; the parser is of no use afterwards.
    """

    def __init__(self, sink: EntrySink, *, limits: Limits, name: str, nested: bool = False) -> None:
        self._sink = sink
        self._limits = limits
        self._name = name
        self._nested = nested
        self._position = 0
        self._block = bytearray()
        self._data_left = 0
        self._padding_left = 0
        self._end_blocks = 0
        self._long_name: bytearray | None = None
        self._reading_long_name = False
        self._header: tar.Header | None = None
        self._blocks: list[bytes] = []
        self._extents: list[tuple[int, int]] = []

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the archive."""
        view = memoryview(chunk)
        at, end = 0, len(view)
        while at < end:
            if self._data_left:
                taken = min(self._data_left, end - at)
                self._take_data(view[at : at + taken])
            elif self._padding_left:
                taken = min(self._padding_left, end - at)
                self._padding_left -= taken
            elif self._end_blocks == len(tar.END_BLOCKS) // tar.BLOCK_BYTES:
                taken = end - at
                if view[at:].tobytes().strip(b"\0"):
                    raise self._damaged("something follows the end of the archive")
            else:
                taken = min(tar.BLOCK_BYTES - len(self._block), end - at)
                self._take_block(view[at : at + taken])
            at += taken
            self._position += taken

    def finish(self) -> None:
        """Say that no byte is left.

        Raises:
            IntegrityFailed: the archive was cut, be it between two members.
        """
        if self._end_blocks * tar.BLOCK_BYTES == len(tar.END_BLOCKS):
            return
        between = not (self._data_left or self._padding_left or self._block or self._header or self._end_blocks)
        if not (self._nested and between and self._long_name is None):
            raise self._damaged("it was cut: its end is missing")

    def _damaged(self, why: str) -> IntegrityFailed:
        return IntegrityFailed(f"{self._name} is damaged", why=f"{why} (at byte {self._position})")

    def _take_data(self, view: memoryview) -> None:
        self._data_left -= len(view)
        if self._reading_long_name and self._long_name is not None:
            self._long_name += view
        else:
            self._sink.data(view)
        if not self._data_left:
            self._end_data()

    def _end_data(self) -> None:
        if self._reading_long_name:
            self._reading_long_name = False
        else:
            self._sink.end_entry()

    def _take_block(self, view: memoryview) -> None:
        if not self._block and len(view) == tar.BLOCK_BYTES:
            self._read_block(bytes(view))
            return
        self._block += view
        if len(self._block) == tar.BLOCK_BYTES:
            block = bytes(self._block)
            self._block.clear()
            self._read_block(block)

    def _read_block(self, block: bytes) -> None:
        try:
            entry = self._parsed(block)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        if entry is None:
            return
        self._expect(entry.stored_bytes)
        self._sink.entry(entry)
        if not entry.stored_bytes:
            self._sink.end_entry()

    def _parsed(self, block: bytes) -> Entry | None:
        """The member that is fully described with this block, if one is."""
        if self._header is not None:
            return self._read_extension(self._header, block)
        if not block.strip(b"\0"):
            if self._long_name is not None:
                raise ValueError("a long name belongs to no member")
            self._end_blocks += 1
            return None
        if self._end_blocks:
            raise ValueError("a lone block of zeros stands between two members")
        return self._read_header(block)

    def _read_header(self, block: bytes) -> Entry | None:
        header = tar.parse_header(block)
        if header.type_flag == tar.LONG_NAME:
            self._begin_long_name(header)
            return None
        self._blocks = [block]
        if header.type_flag == tar.SPARSE:
            self._extents, _ = tar.parse_extents(block, extension=False)
            if header.extended:
                self._header = header
                return None
        return self._described(header)

    def _begin_long_name(self, header: tar.Header) -> None:
        if self._long_name is not None:
            raise ValueError("two long names stand before one member")
        if not 1 < header.stored_bytes <= self._limits.name_bytes + 1:
            raise ValueError(f"a member's name has {header.stored_bytes} bytes")
        self._long_name = bytearray()
        self._reading_long_name = True
        self._expect(header.stored_bytes)

    def _read_extension(self, header: tar.Header, block: bytes) -> Entry | None:
        extents, more = tar.parse_extents(block, extension=True)
        self._extents += extents
        self._blocks.append(block)
        if len(self._extents) > self._limits.extents or len(self._blocks) > self._limits.extents:
            raise ValueError("a sparse member has too many runs")
        if more:
            return None
        self._header = None
        return self._described(header)

    def _described(self, header: tar.Header) -> Entry:
        raw = header.name if self._long_name is None else bytes(self._long_name).removesuffix(b"\0")
        self._long_name = None
        name = checked_name(raw, longest=self._limits.name_bytes)
        kind: EntryKind = "file"
        extents = None
        if header.type_flag == tar.DIRECTORY:
            kind = "directory"
        elif raw.endswith(b"/") or not name:
            raise ValueError(f"the file {raw!r} has a directory's name")
        if header.type_flag == tar.SPARSE:
            kind = "sparse"
            extents = _checked_extents(self._extents, stored_bytes=header.stored_bytes, size_bytes=header.real_bytes)
            if header.real_bytes - header.stored_bytes > self._limits.hole_bytes:
                raise ValueError(f"the sparse member {name!r} claims {header.real_bytes} bytes")
        blocks = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        return Entry(name, kind, header.real_bytes, header.stored_bytes, header.mode, extents, blocks)

    def _expect(self, stored_bytes: int) -> None:
        self._data_left = stored_bytes
        self._padding_left = -stored_bytes % tar.BLOCK_BYTES
