"""Reads the points of opened shards and turns them into a digest. Runs in the engine's child process."""

from __future__ import annotations

import heapq
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from qdrant_edge import CountRequest, EdgeShard, ScrollRequest

from qdrant_backup.digest import HASH_SIZE, KEY_SIZE, DigestWriter, record_of
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from qdrant_edge import PointId, Record

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.engine.not_finite import NotFinite
    from qdrant_backup.model import DigestSummary

__all__ = [
    "blocks_of",
    "count_points",
    "open_shard",
    "opened",
    "records",
    "reread",
    "skip_points",
    "vector_names",
    "vector_names_of",
    "write_digest",
]

_BATCH_POINTS = 64
"""Points per scroll. The engine's allocator keeps small results warm: 1,000 at a time take half as long again."""

_BLOCK_RECORDS = 4096
_BUFFER_BYTES = 1 << 20


def vector_names(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a collection's vectors, sorted; the unnamed one is the empty string.

    Args:
        params: `config.params` as the server gives it and `config.json` holds it.
    """
    dense = cast("dict[str, Any]", params.get("vectors") or {})
    sparse = cast("dict[str, Any]", params.get("sparse_vectors") or {})
    # The unnamed form is the parameters themselves; a vector that is named "size" has an object there.
    names = {""} if isinstance(dense.get("size"), int) else set(dense)
    return tuple(sorted(names | set(sparse)))


def vector_names_of(report: ArchiveReport) -> tuple[str, ...]:
    """The vector names of an archive: as its collection's config has them, else all that its segments have."""
    if report.config is not None:
        return vector_names(cast("dict[str, Any]", report.config.get("params") or {}))
    names: set[str] = set()
    for shard in report.shards:
        for segment in shard.segments:
            config = cast("dict[str, Any]", segment.state.get("config") or {})
            names.update(config.get("vector_data") or {}, config.get("sparse_vector_data") or {})
    return tuple(sorted(names))


def _segments_in(directory: Path) -> set[str]:
    return {child.name for child in (directory / "segments").iterdir() if child.is_dir()}


def open_shard(directory: Path) -> EdgeShard:
    """Open an unpacked shard; the engine writes into the directory and replays the WAL.

    Raises:
        IntegrityFailed: the engine dropped a segment, as it silently does with one that was never finished.
        Exception: whatever the engine says; `verdict.py` judges it.
    """
    before = _segments_in(directory)
    shard = EdgeShard.load(str(directory))
    dropped = sorted(before - _segments_in(directory))
    if dropped:
        raise IntegrityFailed("The snapshot is damaged", why=f"the engine refuses segment {dropped[0]} and deleted it")
    return shard


def _vectors_of(point: Record, known: set[str]) -> dict[str, Any]:
    vectors = point.vector
    if not isinstance(vectors, dict):
        return {"": vectors}
    surplus = vectors.keys() - known
    if surplus:
        raise IntegrityFailed(
            "The snapshot contradicts itself",
            why=f"point {point.id} has a vector that the collection has not: {min(surplus)!r}",
        )
    return cast("dict[str, Any]", vectors)


def count_points(shard: EdgeShard) -> int:
    """How many points the shard says it has."""
    return shard.count(CountRequest(exact=True))


def skip_points(shard: EdgeShard, count: int) -> PointId | None:
    """The id of the point behind the first so many; the shard must have more."""
    offset: PointId | None = None
    while count:
        batch, offset = shard.scroll(
            ScrollRequest(offset=offset, limit=min(count, _BLOCK_RECORDS), with_payload=False, with_vector=False)
        )
        count -= len(batch)
    return offset


def records(
    shard: EdgeShard,
    names: Sequence[str],
    odd: NotFinite,
    offset: PointId | None = None,
    most: int | None = None,
) -> Iterator[list[bytes]]:
    """The records of a shard from an id on, in ascending order, in lists of some thousand.

    Args:
        shard: an open shard.
        names: the collection's vector names, sorted.
        odd: sees every vector.
        offset: the first id; the shard's first by default.
        most: after how many points to end; after the shard's last by default.
    """
    known = set(names)
    left = sys.maxsize if most is None else most
    block: list[bytes] = []
    while True:
        batch, offset = shard.scroll(
            ScrollRequest(offset=offset, limit=min(left, _BATCH_POINTS), with_payload=True, with_vector=True)
        )
        vectors = [_vectors_of(point, known) for point in batch]
        odd.look(vectors)
        block.extend(record_of(point.id, point.payload, own, names) for point, own in zip(batch, vectors, strict=True))
        left -= len(batch)
        ended = offset is None or not left
        if ended or len(block) >= _BLOCK_RECORDS:
            yield block
            block = []
        if ended:
            return


def _counted(
    shard: EdgeShard, names: Sequence[str], alive: Callable[[], None], odd: NotFinite
) -> Iterator[list[bytes]]:
    points = 0
    for block in records(shard, names, odd):
        alive()
        points += len(block)
        yield block
    expected = count_points(shard)
    if points != expected:
        raise IntegrityFailed(
            "The snapshot contradicts itself", why=f"it has {expected} points, and {points} can be read"
        )


def opened(path: Path, more_flags: int) -> BinaryIO:
    """A file of this run's own, readable and writable, mode 0600 where `O_CREAT` makes it."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | more_flags
    return os.fdopen(os.open(path, flags, 0o600), "w+b", buffering=_BUFFER_BYTES)


def reread(stream: BinaryIO, names: Sequence[str]) -> Iterator[list[bytes]]:
    """The records in a file from its start, in lists of some thousand."""
    size = KEY_SIZE + HASH_SIZE * (1 + len(names))
    stream.seek(0)
    while joined := stream.read(size * _BLOCK_RECORDS):
        yield [joined[at : at + size] for at in range(0, len(joined), size)]


def _merged(runs: Sequence[BinaryIO], names: Sequence[str]) -> Iterator[list[bytes]]:
    flat = [itertools.chain.from_iterable(reread(run, names)) for run in runs]
    merged = heapq.merge(*flat)
    while block := list(itertools.islice(merged, _BLOCK_RECORDS)):
        yield block


def blocks_of(
    directories: Sequence[Path], names: Sequence[str], scratch: Path, alive: Callable[[], None], odd: NotFinite
) -> Generator[list[bytes]]:
    """The records of all shards in ascending order; several shards are merged through files, not in memory.

    Args:
        directories: the shards; none of them for a collection whose points other peers hold.
        names: the collection's vector names, sorted.
        scratch: a directory for the records of single shards.
        alive: called every few thousand points.
        odd: sees every vector.

    Raises:
        IntegrityFailed: see `open_shard`; or a shard's points are not as many as it says.
    """
    if len(directories) == 1:
        yield from _counted(open_shard(directories[0]), names, alive, odd)
        return
    runs: list[BinaryIO] = []
    for number, directory in enumerate(directories):
        shard = open_shard(directory)
        run = opened(scratch / f"records-{number}", os.O_CREAT | os.O_EXCL)
        for block in _counted(shard, names, alive, odd):
            # Within a shard ids ascend; several records of one id exist only across shards.
            run.writelines(block)
        shard.close()
        runs.append(run)
    for block in _merged(runs, names):
        alive()
        yield block


def write_digest(blocks: Iterable[list[bytes]], names: Iterable[str], target: Path) -> DigestSummary:
    """Write a digest to a file; nothing is fsynced, for here that may mean nothing (`unsynced.py`).

    Args:
        blocks: the records, ascending.
        names: the collection's vector names.
        target: an empty file.
    """
    with opened(target, 0) as stream:
        writer = DigestWriter(stream.write, names)
        for block in blocks:
            writer.add(block)
        return writer.finish()
