"""Walk an archive while it streams by: every member to a visitor, every flaw to an `IntegrityFailed`.

Nested segment archives are walked in place, so that a visitor sees the files of a shard and never a tar in a tar. A
walker copies no data: what a visitor gets are slices of the chunks it was fed.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Protocol

from qdrant_backup.archive.places import Names, Place, is_document, place_of
from qdrant_backup.archive.shape import Shape
from qdrant_backup.archive.stream import Entry, Limits, TarParser
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from qdrant_backup.archive.report import ArchiveKind, ArchiveReport

__all__ = ["ArchiveWalker", "Limits", "Member", "Visitor"]

_DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Member:
    """A file or directory of the snapshot.

    Attributes:
        name: its path with `/`, relative, free of `.` and `..`; for a segment's file `[{shard}/]segments/{uuid}/<path>`
            whichever form the segment has. Unique in the archive; two names may still differ by case alone.
        size_bytes: the file's size, holes included; 0 for a directory.
        mode: permission bits only.
        is_directory: it has no data; directories that hold files are usually not announced at all.
        extents: (offset, length) of a sparse file's data, ascending and none empty; None for a file without holes.
    """

    name: str
    size_bytes: int
    mode: int
    is_directory: bool = False
    extents: tuple[tuple[int, int], ...] | None = None


class Visitor(Protocol):
    """What wants to see an archive's members. Calls come as `member`, any number of `data`, `end_member`."""

    def member(self, member: Member) -> None:
        """A member begins."""
        ...

    def data(self, offset: int, chunk: memoryview) -> None:
        """Bytes of it, to stand at `offset` of the file; holes are skipped. The view is valid during the call only."""
        ...

    def end_member(self) -> None:
        """All of the member's data was there."""
        ...


class _Nobody:
    def member(self, member: Member) -> None:
        pass

    def data(self, offset: int, chunk: memoryview) -> None:
        pass

    def end_member(self) -> None:
        pass


class _Emitter:
    """Sends one member at a time to the visitor, stored bytes mapped to their offsets, documents kept for the shape."""

    def __init__(self, visitor: Visitor, shape: Shape) -> None:
        self._visitor = visitor
        self._shape = shape
        self._document: bytearray | None = None
        self._place = Place(None, "root")
        self._extents: tuple[tuple[int, int], ...] | None = None
        self._extent = 0
        self._offset = 0

    def begin(self, place: Place, entry: Entry) -> None:
        self._document = bytearray(entry.size_bytes) if is_document(place) else None
        self._place = place
        self._extents = entry.extents
        self._extent = 0
        self._offset = 0
        self._visitor.member(Member(_name_of(place), entry.size_bytes, entry.mode, extents=entry.extents))

    def data(self, view: memoryview) -> None:
        if self._extents is None:
            self._emit(self._offset, view)
            self._offset += len(view)
            return
        # For a sparse member `_offset` counts inside the current extent.
        at = 0
        while at < len(view):
            start, length = self._extents[self._extent]
            taken = min(length - self._offset, len(view) - at)
            self._emit(start + self._offset, view[at : at + taken])
            at += taken
            self._offset += taken
            if self._offset == length:
                self._extent += 1
                self._offset = 0

    def _emit(self, offset: int, view: memoryview) -> None:
        if self._document is not None:
            self._document[offset : offset + len(view)] = view
        self._visitor.data(offset, view)

    def end(self) -> None:
        if self._document is not None:
            self._shape.keep(self._place, bytes(self._document))
            self._document = None
        self._visitor.end_member()

    def directory(self, place: Place, mode: int) -> None:
        self._visitor.member(Member(_name_of(place), 0, mode, is_directory=True))
        self._visitor.end_member()


def _name_of(place: Place) -> str:
    area = "wal/" if place.area == "wal" else ""
    bare = f"{place.prefix}{area}{place.path}"
    return f"{bare}segments" if place.area == "segments" and not place.segment else bare.removesuffix("/")


class _Level(abc.ABC):
    """The sink of one tar: the archive itself, or the archive of one segment in it."""

    def __init__(self, fail: Callable[[str], IntegrityFailed], emitter: _Emitter, shape: Shape) -> None:
        self._fail = fail
        self._emitter = emitter
        self._shape = shape
        self._names = Names()
        self._is_file = False

    def entry(self, entry: Entry) -> None:
        self._is_file = False
        try:
            place = self._checked(entry)
        except ValueError as error:
            raise self._fail(str(error)) from None
        # Outside of the `try`: a visitor's own errors are not the archive's.
        if place is not None and entry.kind == "directory":
            self._emitter.directory(place, entry.mode)
        elif place is not None:
            self._is_file = True
            self._emitter.begin(place, entry)

    def _checked(self, entry: Entry) -> Place | None:
        self._shape.count_entry()
        place = self._place(entry) if entry.name else None
        if place is None:
            return None
        name = _name_of(place)
        if entry.kind != "directory":
            self._names.add_file(name)
            self._shape.add_file(place, size_bytes=entry.size_bytes, stored_bytes=entry.stored_bytes)
        elif self._names.add_directory(name):
            self._shape.add_directory(place)
        else:
            return None
        return place

    @abc.abstractmethod
    def _place(self, entry: Entry) -> Place | None:
        """Where the entry belongs; None where there is nothing to announce."""

    def data(self, view: memoryview) -> None:
        self._emitter.data(view)

    def end_entry(self) -> None:
        if self._is_file:
            self._emitter.end()


class _Inside(_Level):
    """Inside a segment's archive: `snapshot/files/<path>`, or bare files as versions before 0.11 wrote them."""

    def __init__(self, fail: Callable[[str], IntegrityFailed], emitter: _Emitter, shape: Shape, segment: Place) -> None:
        super().__init__(fail, emitter, shape)
        self._segment = segment
        self._bare: bool | None = None

    def _place(self, entry: Entry) -> Place | None:
        top, _, path = entry.name.partition("/")
        bare = top != "snapshot"
        if self._bare is not None and self._bare is not bare:
            raise ValueError(f"the archive of segment {self._segment.segment} mixes two formats")
        self._bare = bare
        if bare:
            path = entry.name
        else:
            path = "" if path == "files" and entry.kind == "directory" else path.removeprefix("files/")
        if path:
            return self._segment._replace(path=path, nested=False)
        if entry.kind != "directory":
            raise ValueError(f"the archive of segment {self._segment.segment} holds a file where a directory belongs")
        return None


class _Outside(_Level):
    """The archive itself."""

    def __init__(
        self, fail: Callable[[str], IntegrityFailed], emitter: _Emitter, shape: Shape, limits: Limits, name: str
    ) -> None:
        super().__init__(fail, emitter, shape)
        self._limits = limits
        self._archive_name = name
        self._inner: TarParser | None = None

    def _place(self, entry: Entry) -> Place | None:
        place = place_of(entry.name, is_directory=entry.kind == "directory")
        if not place.nested:
            return place
        if entry.kind != "file":
            raise ValueError(f"the archive of segment {place.segment} is a sparse member")
        self._names.add_file(place.prefix.removesuffix("/"))
        self._shape.add_segment(place)
        inside = _Inside(self._fail, self._emitter, self._shape, place)
        self._inner = TarParser(
            inside, limits=self._limits, name=f"{self._archive_name}, in its member {entry.name},", nested=True
        )
        return None

    def data(self, view: memoryview) -> None:
        if self._inner is not None:
            self._inner.feed(view)
        else:
            super().data(view)

    def end_entry(self) -> None:
        if self._inner is not None:
            self._inner.finish()
            self._inner = None
        else:
            super().end_entry()


class ArchiveWalker:
    """Walks a snapshot that is fed to it in chunks of any size.

    Args:
        visitor: sees the members; nobody by default, then only the report comes of it.
        kind: what the archive must be: a `collection`'s, a `shard`'s, or a `partial` one; None accepts each.
        expected_shards: the shards that a collection's archive must hold, as the server lists them; without it, those
            that its own config and shard keys imply.
        limits: what counts as hostile.
        name: what to call the archive in messages.

    Raises:
        IntegrityFailed: from `feed` or `finish`. After that the walker is of no use, and what the visitor has seen so
            far must not be trusted.
    """

    def __init__(
        self,
        visitor: Visitor | None = None,
        *,
        kind: ArchiveKind | None = None,
        expected_shards: Collection[int] | None = None,
        limits: Limits = _DEFAULT_LIMITS,
        name: str = "the archive",
    ) -> None:
        self._kind: ArchiveKind | None = kind
        self._expected_shards = expected_shards
        self._name = name
        self._size_bytes = 0
        self._shape = Shape(
            most_members=limits.members,
            document_bytes=limits.document_bytes,
            total_hole_bytes=limits.total_hole_bytes,
        )
        emitter = _Emitter(_Nobody() if visitor is None else visitor, self._shape)
        self._outside = TarParser(_Outside(self._fail, emitter, self._shape, limits, name), limits=limits, name=name)

    def _fail(self, why: str) -> IntegrityFailed:
        return IntegrityFailed(f"{self._name} is damaged", why=why)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the archive; the chunk is not kept."""
        self._size_bytes += len(chunk)
        self._outside.feed(chunk)

    def finish(self) -> ArchiveReport:
        """Say that no byte is left, and get the report of a whole archive."""
        self._outside.finish()
        try:
            return self._shape.report(self._size_bytes, kind=self._kind, expected_shards=self._expected_shards)
        except ValueError as error:
            raise self._fail(str(error)) from None
