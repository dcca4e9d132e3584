"""Small snapshot archives, whole or broken on purpose, and a visitor that remembers what it saw."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from qdrant_backup.archive import tar
from qdrant_backup.archive.report import ArchiveReport
from qdrant_backup.archive.walk import ArchiveWalker, Member

SEGMENT = "0f7e9a01-98c5-4c8b-ae30-03873d2f6c2c"
CONFIG = {"params": {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 1}}
LOCAL = b'{"is_local":true,"this_peer_id":7,"peers":{"7":"Active"}}'
ELSEWHERE = b'{"is_local":false,"this_peer_id":7,"peers":{"8":"Active"}}'

Item = tuple[str, bytes | tuple[int, Sequence[tuple[int, bytes]]] | None]
"""A member: name and bytes, or name and (size, runs) for a sparse one, or name and None for a directory."""


def member(name: str, content: bytes | tuple[int, Sequence[tuple[int, bytes]]] | None) -> bytes:
    if content is None:
        return tar.directory_header(name)
    if isinstance(content, bytes):
        return tar.file_member(name, content)
    size, runs = content
    stored = b"".join(run for _, run in runs)
    header = tar.sparse_header(name, size, [(offset, len(run)) for offset, run in runs])
    return header + stored + tar.padding(len(stored))


def archive(items: Sequence[Item], *, end: bytes = tar.END_BLOCKS) -> bytes:
    return b"".join(member(name, content) for name, content in items) + end


def segment_items(prefix: str, *, version: int = 17) -> list[Item]:
    return [
        (f"{prefix}vector_storage/vectors/chunk_0.mmap", (8192, [(0, b"v" * 1024), (4096, b"w" * 700)])),
        (f"{prefix}payload_index/{'long-field-name-' * 5}-map/page_0.dat", b"p" * 600),
        (f"{prefix}payload_storage/empty.dat", b""),
        (f"{prefix}vector_storage/deleted/flags_a.dat", (1 << 20, [])),
        (f"{prefix}segment.json", json.dumps({"version": version, "config": {}}).encode()),
        (f"{prefix}version.info", b"0.6.0"),
    ]


def nested_segment(*, top: str = "snapshot/files/", end: bytes = b"") -> bytes:
    return archive(segment_items(top), end=end)


def shard_items(prefix: str = "", *, nested: bool = False, segment: str = SEGMENT) -> list[Item]:
    if nested:
        segments: list[Item] = [(f"{prefix}segments/{segment}.tar", nested_segment())]
    else:
        segments = segment_items(f"{prefix}segments/{segment}/files/")
    return [
        *segments,
        (f"{prefix}newest_clocks.json", b"{}"),
        (f"{prefix}wal/closed-18", (1 << 16, [(0, b"wal\0" + bytes(508))])),
        (f"{prefix}replica_state.json", LOCAL),
        (f"{prefix}shard_config.json", b'{"type":"ReplicaSet"}'),
    ]


def root_items(shard_number: int = 1, keys: bytes = b"[]") -> list[Item]:
    config = {"params": {**CONFIG["params"], "shard_number": shard_number}}
    return [
        ("version.info", b"0.4.2"),
        ("config.json", json.dumps(config).encode()),
        ("shard_key_mapping.json", keys),
        ("payload_index.json", b'{"schema":{"type":"keyword"}}'),
    ]


def collection_items(shard_number: int = 1, *, nested: bool = True) -> list[Item]:
    shards = [item for number in range(shard_number) for item in shard_items(f"{number}/", nested=nested)]
    return shards + root_items(shard_number)


@dataclasses.dataclass
class Recorder:
    """A visitor that rebuilds every member; without `holes` it keeps the stored bytes alone."""

    holes: bool = True

    members: list[Member] = dataclasses.field(default_factory=list)
    contents: dict[str, bytes] = dataclasses.field(default_factory=dict)
    _open: bytearray | None = None

    def member(self, member: Member) -> None:
        assert self._open is None, "the member before was not ended"
        self.members.append(member)
        self._open = bytearray(member.size_bytes if self.holes else 0)

    def data(self, offset: int, chunk: memoryview) -> None:
        assert self._open is not None
        assert len(chunk) > 0
        extents = self.members[-1].extents
        if extents is not None:
            assert any(start <= offset and offset + len(chunk) <= start + length for start, length in extents)
        assert offset + len(chunk) <= self.members[-1].size_bytes
        at = offset if self.holes else len(self._open)
        self._open[at : at + len(chunk)] = chunk

    def end_member(self) -> None:
        assert self._open is not None
        self.contents[self.members[-1].name] = bytes(self._open)
        self._open = None


def walk(content: bytes, *, chunk_size: int = 1 << 20, holes: bool = True, **options) -> tuple[ArchiveReport, Recorder]:
    recorder = Recorder(holes)
    walker = ArchiveWalker(recorder, **options)
    for chunk in chunked(content, chunk_size):
        walker.feed(chunk)
    return walker.finish(), recorder


def chunked(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))
