"""What is fed with bytes that anybody may have made: each takes all bytes, and knows which errors may come of them.

A target returns what it made of the bytes, or raises one of its errors, named by the docstring of what it calls.
Anything else that comes out is a bug. Memory has a bound of its own in each: see `LONGEST_BYTES`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from qdrant_backup import digest_merge, manifest
from qdrant_backup.archive.stream import Limits
from qdrant_backup.archive.walk import ArchiveWalker, Member
from qdrant_backup.digest import KEY_SIZE, DigestReader, compare
from qdrant_backup.errors import BackupInvalid, Incompatible, IntegrityFailed
from qdrant_backup.layout import safe_relative_path
from qdrant_backup.storage import journal

__all__ = ["TARGETS", "archive", "digest", "digests", "journal_file", "manifest_file"]

LIMITS = Limits(members=200, hole_bytes=1 << 30, total_hole_bytes=4 << 30, extents=1000, document_bytes=1 << 16)
"""Small ones, so that what they forbid is met within small inputs."""


class Judge:
    """A visitor that holds the walker to its promises about names, extents and sizes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.member_now: Member | None = None
        self.received_bytes = 0

    def member(self, member: Member) -> None:
        assert self.member_now is None
        assert member.name not in self.names or member.is_directory
        assert not member.name.startswith("/")
        assert not {"", ".", ".."} & set(member.name.split("/"))
        assert "\\" not in member.name
        assert "\0" not in member.name
        assert 0 <= member.mode <= 0o777
        assert member.size_bytes >= 0
        self.names.add(member.name)
        self.member_now, self.received_bytes = member, 0

    def data(self, offset: int, chunk: memoryview) -> None:
        assert self.member_now is not None
        assert len(chunk) > 0
        assert 0 <= offset <= self.member_now.size_bytes - len(chunk)
        self.received_bytes += len(chunk)

    def end_member(self) -> None:
        assert self.member_now is not None
        extents = self.member_now.extents
        stored = self.member_now.size_bytes if extents is None else sum(length for _, length in extents)
        assert self.received_bytes == (0 if self.member_now.is_directory else stored)
        self.member_now = None


def archive(data: bytes) -> object:
    """An archive in chunks whose size the first byte decides; members are judged as they come."""
    chunk_bytes = 1 + 97 * (data[0] if data else 0)
    judge = Judge()
    walker = ArchiveWalker(judge, limits=LIMITS)
    try:
        for at in range(0, len(data), chunk_bytes):
            walker.feed(data[at : at + chunk_bytes])
        report = walker.finish()
    except IntegrityFailed:
        return None
    assert judge.member_now is None
    assert report.size_bytes == len(data)
    return report


def manifest_file(data: bytes) -> manifest.Manifest | None:
    """A manifest; what it accepts must be written and read again to the same, and names only paths inside."""
    try:
        found = manifest.decode(data)
    except (BackupInvalid, Incompatible, IntegrityFailed):
        return None
    for path in [*(file.path for file in found.files), *(entry.snapshot for entry in found.collections.values())]:
        assert safe_relative_path(path) == path
    again = manifest.decode(manifest.encode(found))
    assert again == found or b"nan" in data.lower()
    return found


def digest(data: bytes) -> object:
    """A digest, read to its end, and asked for points in it."""
    try:
        reader = DigestReader(io.BytesIO(data))
        records = list(reader.records())
    except IntegrityFailed:
        return None
    assert len(records) == reader.summary.points
    for record in records[:10]:
        assert len(record) == reader.record_size
        reader.find(record[:KEY_SIZE])
    reader.find(b"\2" * KEY_SIZE)
    return reader.summary


def digests(data: bytes) -> object:
    """Two digests side by side; the first four bytes say where the second begins. Both merges must say the same."""
    at = 4 + int.from_bytes(data[:4], "little") % (len(data) + 1)
    try:
        one, other = DigestReader(io.BytesIO(data[4:at])), DigestReader(io.BytesIO(data[at:]))
        fast = list(digest_merge.changes(one, other))
        if one.summary.vector_names != other.summary.vector_names:
            return fast
        one_records, other_records = list(one.records()), list(other.records())
    except IntegrityFailed:
        return None
    # Only ascending records have an order to merge by; a digest with others is none that we wrote.
    if one_records == sorted(one_records) and other_records == sorted(other_records):
        assert fast == list(compare(one_records, other_records))
    return fast


def journal_file(data: bytes) -> journal.Journal | None:
    """A journal; what it accepts must be written and read again to the same."""
    try:
        found = journal.decode(data, Path("journal"))
    except (Incompatible, IntegrityFailed):
        return None
    assert journal.decode(journal.encode(found), Path("journal")) == found
    return found


TARGETS: dict[str, Callable[[bytes], object]] = {
    "archive": archive,
    "manifest": manifest_file,
    "digest": digest,
    "digests": digests,
    "journal": journal_file,
}
