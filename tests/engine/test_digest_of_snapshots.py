"""The digest that the engine's child takes of a snapshot says exactly which points are in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge

from qdrant_backup.digest import DigestReader, record_of
from qdrant_backup.engine.engine import Digested, Engine
from qdrant_backup.engine.opening import shard_directories, unpack_archive
from qdrant_backup.engine.reading import vector_names
from qdrant_backup.errors import ContentUnreadable
from support.archives import archive
from support.original_backup import unpack_original_backup
from support.shards import (
    DENSE,
    DENSE_PARAMS,
    NAMED,
    NAMED_PARAMS,
    collection_archive,
    dense_points,
    make_shard,
    points_in,
    records_of,
    shard_items,
)


def digest(tmp_path: Path, data: bytes, name: str = "one") -> tuple[Digested, list[bytes]]:
    """The digest of an archive and its records; nothing may be left in the scratch directory."""
    scratch, target = tmp_path / "scratch", tmp_path / f"{name}.digest"
    with Engine(scratch=scratch).open_digest(target) as sink:
        # Odd pieces: neither the pipe's frames nor the archive's blocks are where these end.
        for at in range(0, len(data), 77_777):
            sink.write(data[at : at + 77_777])
        digested = sink.finish()
    assert list(scratch.iterdir()) == []
    with target.open("rb") as stream:
        reader = DigestReader(stream)
        assert reader.summary == digested.summary
        return digested, list(reader.records())


@pytest.mark.parametrize("nested", [True, False])
def test_records_are_those_of_the_points(tmp_path: Path, nested: bool) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(200))
    digested, records = digest(tmp_path, collection_archive([shard], DENSE_PARAMS, nested=nested))
    assert records == records_of(shard, [""])
    assert digested.summary.points == 200
    assert digested.summary.vector_names == ("",)
    assert digested.report.kind == "collection"
    assert digested.report.shard_ids == (0,)


def test_the_target_is_private(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    digest(tmp_path, collection_archive([shard], DENSE_PARAMS))
    assert (tmp_path / "one.digest").stat().st_mode & 0o777 == 0o600


def test_named_sparse_multi_and_missing_vectors(tmp_path: Path) -> None:
    points = [
        edge.Point(1, {"text": [1.0, 2.0, 3.0, 4.0], "words": edge.SparseVector([9, 2], [0.5, 0.1])}, {}),
        edge.Point(2, {"rows": [[1.0, 2.0], [3.0, 4.0]]}, {"a": {"b": [1, 2.5, None]}}),
        edge.Point(3, {}, {"only": "payload"}),
        edge.Point(2**64 - 1, {"text": [0.1, 0.2, 0.3, 1e-40]}, {"big": 2**63 + 1, "small": -(2**63)}),
    ]
    shard = make_shard(tmp_path / "shard", NAMED, points)
    digested, records = digest(tmp_path, collection_archive([shard], NAMED_PARAMS))
    assert digested.summary.vector_names == ("rows", "text", "words")
    assert records == records_of(shard, ["rows", "text", "words"])
    # The same points as a REST client would have them: JSON's own types, sparse vectors as objects.
    assert records[1] == record_of(
        2, {"a": {"b": [1, 2.5, None]}}, {"rows": [[1, 2], [3, 4]]}, ["rows", "text", "words"]
    )
    assert (
        records[0][33:]
        == record_of(
            1, {}, {"text": [1, 2, 3, 4], "words": {"indices": [9, 2], "values": [0.5, 0.1]}}, ["rows", "text", "words"]
        )[33:]
    )


def test_segmentation_does_not_matter(tmp_path: Path) -> None:
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=4, distance=edge.Distance.Cosine),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
    )
    points = dense_points(300)
    plain = make_shard(tmp_path / "plain", config, points)
    optimized = make_shard(tmp_path / "optimized", config, points, optimize=True)
    assert {p.name for p in (plain / "segments").iterdir()} != {p.name for p in (optimized / "segments").iterdir()}
    first, _ = digest(tmp_path, collection_archive([plain], DENSE_PARAMS), "plain")
    second, _ = digest(tmp_path, collection_archive([optimized], DENSE_PARAMS), "optimized")
    assert first.summary == second.summary


def test_the_order_of_insertion_does_not_matter_and_the_number_of_shards_neither(tmp_path: Path) -> None:
    points = dense_points(9000)
    whole = make_shard(tmp_path / "whole", DENSE, points[::-1])
    parts = [make_shard(tmp_path / f"part-{n}", DENSE, points[n::3]) for n in range(3)]
    first, records = digest(tmp_path, collection_archive([whole], DENSE_PARAMS), "whole")
    second, merged = digest(tmp_path, collection_archive(parts, DENSE_PARAMS), "parts")
    assert first.summary == second.summary
    assert records == merged
    assert second.report.shards_with_data == (0, 1, 2)


def test_a_shards_own_archive_without_wal_gives_the_same_digest(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(50))
    with_wal, _ = digest(tmp_path, collection_archive([shard], DENSE_PARAMS), "collection")
    streamed, _ = digest(tmp_path, archive(shard_items(shard, wal=False)), "shard")
    assert streamed.report.kind == "shard"
    assert streamed.summary == with_wal.summary


def test_what_only_the_wal_holds_counts(tmp_path: Path) -> None:
    directory = make_shard(tmp_path / "shard", DENSE, dense_points(20))
    shard = edge.EdgeShard.load(str(directory))
    shard.update(edge.UpdateOperation.upsert_points(dense_points(5, first=100)))
    # Neither flushed nor closed: the new ids stand in the WAL alone.
    data = collection_archive([directory], DENSE_PARAMS)
    digested, _ = digest(tmp_path, data)
    without, _ = digest(tmp_path, collection_archive([directory], DENSE_PARAMS, wal=False), "without")
    shard.close()
    assert digested.summary.points == 25
    assert without.summary.points == 20


@pytest.mark.parametrize("count", [0, 1, 9_001])
def test_two_processes_find_what_one_finds(tmp_path: Path, count: int) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(count))
    (tmp_path / "archive").write_bytes(collection_archive([shard], DENSE_PARAMS))
    found = {
        name: Engine(scratch=tmp_path / "scratch", halve_from_bytes=from_bytes).digest_file(
            tmp_path / "archive", tmp_path / name
        )
        for name, from_bytes in (("one", 1 << 60), ("two", 0))
    }
    assert found["one"] == found["two"]
    assert found["two"].summary.points == count
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert list((tmp_path / "scratch").iterdir()) == []


NAN, INFINITE = float("nan"), float("inf")
LONG = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=200, distance=edge.Distance.Dot))
LONG_PARAMS = {"vectors": {"size": 200, "distance": "Dot"}, "shard_number": 1}


def test_points_whose_vectors_are_no_numbers_are_counted_for_each_vector(tmp_path: Path) -> None:
    words, rows = edge.SparseVector([1, 5], [0.5, 0.25]), [[1.0, 2.0], [3.0, 4.0]]
    vectors: list[dict[str, Any]] = [
        {"text": [1, 2, 3, 4], "rows": rows, "words": words},
        {"text": [1, NAN, 3, 4], "rows": rows, "words": words},
        {"text": [1, 2, 3, INFINITE], "rows": [[1, 2], [NAN, 4]], "words": words},
        {"text": [-INFINITE, 2, 3, INFINITE], "rows": rows, "words": edge.SparseVector([1, 5], [0.5, NAN])},
    ]
    shard = make_shard(tmp_path / "shard", NAMED, [edge.Point(at, one, {}) for at, one in enumerate(vectors)])
    digested, records = digest(tmp_path, collection_archive([shard], NAMED_PARAMS))

    assert digested.not_finite == {"text": 3, "rows": 1, "words": 1}
    assert len(records) == 4


@pytest.mark.parametrize("from_bytes", [1 << 60, 0], ids=["one process", "two processes"])
def test_of_long_vectors_all_that_are_nan_throughout_are_counted(tmp_path: Path, from_bytes: int) -> None:
    points = [edge.Point(at, [NAN if at % 5 == 0 else 3e38] * 200, {}) for at in range(100)]
    shard = make_shard(tmp_path / "shard", LONG, points)
    (tmp_path / "archive").write_bytes(collection_archive([shard], LONG_PARAMS))
    engine = Engine(scratch=tmp_path / "scratch", halve_from_bytes=from_bytes)

    assert engine.digest_file(tmp_path / "archive", tmp_path / "digest").not_finite == {"": 20}


def test_each_number_of_a_short_vector_is_looked_at(tmp_path: Path) -> None:
    points = [edge.Point(at, {"text": [1, 2, 3, NAN], "rows": [[1, 2], [NAN, 4]]}, {}) for at in range(300)]
    shard = make_shard(tmp_path / "shard", NAMED, points)
    digested, _ = digest(tmp_path, collection_archive([shard], NAMED_PARAMS))

    assert digested.not_finite == {"text": 300, "rows": 300}


def test_a_single_nan_is_seen_where_one_looks_at_every_number(tmp_path: Path) -> None:
    points = [edge.Point(at, [1.0] * 77 + [NAN] + [1.0] * 122, {}) for at in range(80)]
    shard = make_shard(tmp_path / "shard", LONG, points)
    digested, _ = digest(tmp_path, collection_archive([shard], LONG_PARAMS))

    assert digested.not_finite == {"": 64}


def test_an_empty_collection(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", NAMED, [])
    digested, records = digest(tmp_path, collection_archive([shard], NAMED_PARAMS))
    assert records == []
    assert digested.summary.points == 0
    assert digested.summary.vector_names == ("rows", "text", "words")
    assert digested.not_finite == {}


def test_one_bit_in_a_vector_file_shows(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(64))
    before, records = digest(tmp_path, collection_archive([shard], DENSE_PARAMS, wal=False), "before")
    (chunk,) = shard.glob("segments/*/vector_storage/vectors/chunk_0.mmap")
    with chunk.open("r+b") as stream:
        stream.seek(40 * 16)
        byte = stream.read(1)[0]
        stream.seek(40 * 16)
        stream.write(bytes([byte ^ 0x01]))
    after, changed = digest(tmp_path, collection_archive([shard], DENSE_PARAMS, wal=False), "after")
    assert before.summary.points == after.summary.points
    assert before.summary.content != after.summary.content
    assert sum(one != other for one, other in zip(records, changed, strict=True)) == 1


def test_payload_indexes_may_be_left_out(tmp_path: Path) -> None:
    directory = make_shard(tmp_path / "shard", DENSE, dense_points(40))
    shard = edge.EdgeShard.load(str(directory))
    shard.update(edge.UpdateOperation.create_field_index("text", edge.PayloadSchemaType.Keyword))
    shard.flush()
    shard.close()
    data = collection_archive([directory], DENSE_PARAMS)
    with_indexes, _ = digest(tmp_path, data)
    engine = Engine(scratch=tmp_path / "scratch", with_indexes=False)
    (tmp_path / "archive.snapshot").write_bytes(data)
    assert engine.digest_file(tmp_path / "archive.snapshot", tmp_path / "d").summary == with_indexes.summary


def test_a_collection_without_vectors_is_unreadable_and_not_damaged(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    data = collection_archive([shard], {"vectors": {}})
    with pytest.raises(ContentUnreadable, match="no vectors"):
        digest(tmp_path, data)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("segment.json", '"InRamChunkedMmap"', '"Memory"'),
        ("segment.json", '"InRamChunkedMmap"', '"OfTheFuture"'),
        ("segment.json", '"type":"mmap"', '"type":"on_disk"'),
        ("version.info", "0.6.0", "0.7.0"),
    ],
)
def test_other_formats_are_unreadable_and_not_damaged(tmp_path: Path, file: str, old: str, new: str) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    (path,) = shard.glob(f"segments/*/{file}")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ContentUnreadable) as caught:
        digest(tmp_path, collection_archive([shard], DENSE_PARAMS))
    assert caught.value.why
    assert not (tmp_path / "one.digest").exists()


def test_vector_names_of_both_spellings() -> None:
    assert vector_names({"vectors": {"size": 4, "distance": "Dot"}}) == ("",)
    assert vector_names({"vectors": {"size": {"size": 4, "distance": "Dot"}}}) == ("size",)
    assert vector_names({"vectors": {"b": {}, "a": {}}, "sparse_vectors": {"c": {}}}) == ("a", "b", "c")
    assert vector_names({"vectors": {}, "sparse_vectors": None}) == ()


def _as_json(value: Any) -> Any:
    """A vector as the server's JSON gives it: the shortest decimals that make the same float32."""
    if isinstance(value, edge.SparseVector):
        return {"indices": list(value.indices), "values": _as_json(list(value.values))}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return float(str(np.float32(value)))


@pytest.mark.parametrize("collection", ["code-patterns", "conventions", "discussions", "jira-data"])
def test_a_real_servers_snapshots_hold_exactly_the_points_that_it_had(tmp_path: Path, collection: str) -> None:
    original = unpack_original_backup(tmp_path)
    snapshot = original.snapshot(collection)
    (tmp_path / "opened").mkdir()
    unpack_archive([snapshot.read_bytes()], tmp_path / "opened")
    (shard,) = shard_directories(tmp_path / "opened")
    points = points_in(shard)
    found = {}
    for point_id, (payload, vectors) in points.items():
        plain = [payload, {name: _as_json(vector) for name, vector in vectors.items()}]
        text = json.dumps(plain, sort_keys=True).encode()
        found[str(point_id)] = hashlib.blake2b(text, digest_size=12).hexdigest()
    assert found == original.expected_points[collection]
    # The digest of the child is that of these points, both as the engine and as a server's JSON gives them.
    target = tmp_path / "digest"
    digested = Engine(scratch=tmp_path / "scratch").digest_file(snapshot, target)
    assert digested.summary.points == len(found)
    names = digested.summary.vector_names
    with target.open("rb") as stream:
        records = list(DigestReader(stream).records())
    assert records == sorted(record_of(i, payload, vectors, names) for i, (payload, vectors) in points.items())
    assert records == sorted(
        record_of(str(i) if not isinstance(i, int) else i, payload, {n: _as_json(v) for n, v in vectors.items()}, names)
        for i, (payload, vectors) in points.items()
    )
