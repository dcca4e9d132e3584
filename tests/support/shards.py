"""Shards made with the embedded engine, and the archives that Qdrant would make of them."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from qdrant_backup.archive import tar
from qdrant_backup.digest import record_of
from qdrant_backup.engine.halves import _copy_with_holes
from support.archives import LOCAL, Item, archive

DENSE = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=4, distance=edge.Distance.Cosine))
NAMED = edge.EdgeConfig(
    vectors={
        "text": edge.EdgeVectorParams(size=4, distance=edge.Distance.Dot),
        "rows": edge.EdgeVectorParams(
            size=2,
            distance=edge.Distance.Dot,
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        ),
    },
    sparse_vectors={"words": edge.EdgeSparseVectorParams()},
)
DENSE_PARAMS = {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 1}
NAMED_PARAMS = {
    "vectors": {
        "text": {"size": 4, "distance": "Dot"},
        "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {}},
    "shard_number": 1,
}


def dense_points(count: int, *, first: int = 0) -> list[edge.Point]:
    """Points with number and UUID ids by turns, and payloads of every JSON type."""
    return [
        edge.Point(
            number if number % 2 else str(uuid.UUID(int=number * 7919 << 64 | number)),
            [0.25 * number + 1, -1.5, 3.0, float(number % 7)],
            {"text": f"memory {number} ü", "number": number, "real": number / 3, "tags": ["a", None], "on": True},
        )
        for number in range(first, first + count)
    ]


def make_shard(
    directory: Path, config: edge.EdgeConfig, points: Sequence[edge.Point], *, optimize: bool = False
) -> Path:
    """A shard on disk, closed; its WAL and its segments hold the points."""
    directory.mkdir(parents=True)
    shard = edge.EdgeShard.create(str(directory), config)
    if points:
        shard.update(edge.UpdateOperation.upsert_points(list(points)))
    shard.flush()
    if optimize:
        assert shard.optimize()
        shard.flush()
    shard.close()
    return directory


def points_in(directory: Path) -> dict[Any, tuple[dict[str, Any], dict[str, Any]]]:
    """Payload and vectors of each point; the engine may write into the directory."""
    shard = edge.EdgeShard.load(str(directory))
    points, offset = shard.scroll(edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=True))
    assert offset is None
    shard.close()
    return {
        point.id: (point.payload or {}, point.vector if isinstance(point.vector, dict) else {"": point.vector})
        for point in points
    }


def points_of(directory: Path) -> dict[Any, tuple[dict[str, Any], dict[str, Any]]]:
    """The same, from a copy that leaves the holes in the files as they are."""
    copy = directory.with_name(f"{directory.name}-copy-{uuid.uuid4().hex}")
    shutil.copytree(directory, copy, copy_function=_copy_with_holes)
    points = points_in(copy)
    shutil.rmtree(copy)
    return points


def records_of(directory: Path, names: Sequence[str]) -> list[bytes]:
    """What `record_of` says about each point, sorted."""
    points = points_of(directory).items()
    return sorted(record_of(point_id, payload, vectors, sorted(names)) for point_id, (payload, vectors) in points)


def _item(name: str, path: Path) -> Item:
    """A file as a sparse member, so that its holes need not be read."""
    size = path.stat().st_size
    runs: list[tuple[int, bytes]] = []
    with path.open("rb") as stream:
        at = 0
        while at < size:
            try:
                start = os.lseek(stream.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
            runs.append((start, os.pread(stream.fileno(), at - start, start)))
    if runs and runs[-1][0] + len(runs[-1][1]) != size:
        # A run in the middle ends at a block's border; the last one may not.
        start, data = runs[-1]
        runs[-1] = (start, data + bytes(-len(data) % tar.BLOCK_BYTES))
    return (name, runs[0][1]) if len(runs) == 1 and len(runs[0][1]) == size else (name, (size, runs))


def shard_items(directory: Path, prefix: str = "", *, nested: bool = False, wal: bool = True) -> list[Item]:
    """A shard's members: streamable, or with its segments in archives of their own."""
    items: list[Item] = []
    for segment in sorted((directory / "segments").iterdir()):
        root = "snapshot/files/" if nested else f"{prefix}segments/{segment.name}/files/"
        files = [path for path in sorted(segment.rglob("*")) if path.is_file()]
        members = [_item(root + path.relative_to(segment).as_posix(), path) for path in files]
        items += [(f"{prefix}segments/{segment.name}.tar", archive(members))] if nested else members
    wal_files = [path for path in sorted((directory / "wal").iterdir()) if path.is_file()] if wal else []
    items.append((f"{prefix}wal", None))
    items += [_item(f"{prefix}wal/{path.name}", path) for path in wal_files if path.name != ".wal"]
    items.append((f"{prefix}replica_state.json", LOCAL))
    items.append((f"{prefix}shard_config.json", b'{"type":"ReplicaSet"}'))
    return items


def collection_archive(
    shards: Sequence[Path], params: Mapping[str, Any], *, nested: bool = True, wal: bool = True
) -> bytes:
    """A collection's snapshot of these shards, numbered in their order."""
    items: list[Item] = []
    for number, shard in enumerate(shards):
        items += shard_items(shard, f"{number}/", nested=nested, wal=wal)
    config = {"params": {**params, "shard_number": len(shards)}, "hnsw_config": {}, "optimizer_config": {}}
    items.append(("version.info", b"0.4.2"))
    items.append(("config.json", json.dumps({**config, "wal_config": {}}).encode()))
    items.append(("shard_key_mapping.json", b"{}"))
    items.append(("payload_index.json", b'{"schema":{}}'))
    return archive(items)
