"""`points --parquet`: what comes out is what the server has, every float32 bit by bit; a file is whole or not there."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qdrant_backup.errors import InsufficientSpace, IntegrityFailed, NotWritable, RefusedForSafety
from qdrant_backup.model import NO_PROGRESS
from qdrant_backup.operations.looking import parquet
from qdrant_backup.storage.exported import exported
from support.command import CommandLine
from support.contracts import matches
from support.restoring import Lab, named_config, path_of, points_of

NAME = "discussions"
LARGEST_ID = (1 << 64) - 1
PLAIN = {"vectors": {"size": 2, "distance": "Dot"}}


def bits(value: Any) -> Any:
    """Numbers as the float32 they stand for; what the server writes as null is NaN."""
    if isinstance(value, dict):
        return {"indices": value["indices"], "values": bits(value["values"])}
    if isinstance(value, list):
        return [bits(one) for one in value]
    if value is None or math.isnan(value):
        return "NaN"
    return struct.pack("<f", value)


def live(lab: Lab, name: str = NAME) -> list[dict[str, Any]]:
    body = {"limit": 500, "with_payload": True, "with_vector": True}
    return lab.call("POST", path_of(name, "points/scroll"), body)["points"]


def expected(points: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for point in points:
        vectors = point["vector"] if isinstance(point["vector"], dict) else {"": point["vector"]}
        row = {f"vector_{name}" if name else "vector": bits(vector) for name, vector in vectors.items()}
        kind = "number" if isinstance(point["id"], int) else "uuid"
        plain = {"id": str(point["id"]), "id_kind": kind, "payload": point["payload"]}
        rows.append(dict.fromkeys(columns) | plain | row)
    return rows


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [
        {
            name: json.loads(value) if name == "payload" else bits(value) if name[:6] == "vector" and value else value
            for name, value in row.items()
        }
        for row in pq.read_table(path).to_pylist()
    ]


def test_all_kinds_of_vectors_come_out_bit_by_bit(lab: Lab, line: CommandLine, tmp_path: Path) -> None:
    points = points_of(30, named=True)
    lab.make(NAME, points, named_config())
    text = [1 / 3, -2e-38, 1e38, 0.1]
    lab.put(NAME, [{"id": LARGEST_ID, "vector": {"text": text}, "payload": {"deep": {"ü": [1, None, 0.5]}}}])
    lab.put(NAME, [{"id": 1001, "vector": {"late": [[1e39, 0.25]]}, "payload": {}}])
    backup = lab.back_up()
    path = tmp_path / "points.parquet"

    told = line.inside("points", "latest", "--collection", NAME, "--parquet", str(path), "--json").ok().json

    matches("points --parquet --json", told)
    assert told == {
        "collection": NAME,
        "backup": backup.backup_id,
        "path": str(path),
        "points": 32,
        "size_bytes": path.stat().st_size,
    }
    schema = pq.read_schema(path)
    dense, row = pa.list_(pa.float32(), 4), pa.list_(pa.float32(), 2)
    sparse = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    assert schema.names == ["id", "id_kind", "payload", "vector_late", "vector_text", "vector_words"]
    assert [schema.field(name).type for name in schema.names[3:]] == [pa.list_(row), dense, sparse]
    about = json.loads(schema.metadata[b"qdrant-backup"])
    assert (about["collection"], about["backup"]) == (NAME, backup.backup_id)
    assert about["vectors"]["text"]["distance"] == "Cosine"
    rows = rows_of(path)
    assert rows == expected(live(lab), schema.names)
    odd = next(one for one in rows if one["id"] == "1001")
    assert odd["vector_late"] == [["NaN", struct.pack("<f", 0.25)]]
    assert odd["vector_text"] is None


def test_an_unnamed_vector_and_a_choice_and_nothing_at_all(lab: Lab, line: CommandLine, tmp_path: Path) -> None:
    lab.make(NAME, points_of(12))
    lab.make("empty", [])
    lab.back_up()
    some, none = tmp_path / "some.parquet", tmp_path / "none.parquet"

    said = line.inside("points", "--collection", NAME, "--filter", "group=g1", "--parquet", str(some)).ok().out
    line.inside("points", "--collection", "empty", "--parquet", str(none)).ok()

    chosen = [point for point in live(lab) if point["payload"]["group"] == "g1"]
    assert rows_of(some) == expected(chosen, ["id", "id_kind", "payload", "vector"])
    assert said.startswith(f"  ✓ {len(chosen)} point(s) written to {some} (")
    assert pq.read_table(none).num_rows == 0
    assert pq.read_schema(none).names == ["id", "id_kind", "payload", "vector"]


def pages(count: int, page: int) -> Iterator[list[dict[str, Any]]]:
    points = [{"id": at, "payload": {"n": at}, "vector": [at, 0.5]} for at in range(count)]
    yield from (points[at : at + page] for at in range(0, count, page))


def write(path: Path, given: Iterator[list[dict[str, Any]]], *, force: bool = False) -> int:
    with exported(path, force=force) as file:
        return parquet.write_parquet(given, file, params=PLAIN, about={}, progress=NO_PROGRESS)


def test_points_are_written_in_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 1)
    path = tmp_path / "x.parquet"

    assert write(path, pages(50, 10)) == 50
    assert pq.ParquetFile(path).num_row_groups == 5
    assert [row["id"] for row in pq.read_table(path).to_pylist()] == [str(at) for at in range(50)]


def test_a_file_is_private_and_takes_no_others_place(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    before = os.umask(0)
    try:
        write(path, pages(3, 3))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    old = path.read_bytes()

    with pytest.raises(RefusedForSafety):
        write(path, pages(4, 4))
    assert path.read_bytes() == old
    write(path, pages(4, 4), force=True)
    assert pq.read_table(path).num_rows == 4
    assert [one.name for one in tmp_path.iterdir()] == ["x.parquet"]


def test_one_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"

    def given() -> Iterator[list[dict[str, Any]]]:
        path.write_text("somebody else's")
        yield from pages(3, 3)

    with pytest.raises(RefusedForSafety):
        write(path, given())
    assert path.read_text() == "somebody else's"
    assert [one.name for one in tmp_path.iterdir()] == ["x.parquet"]


class Full:
    """A file on a full disk."""

    size_bytes = 0

    def write(self, data: bytes) -> int:
        raise InsufficientSpace("The filesystem has no room")


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    other_size = iter([[{"id": 1, "payload": {}, "vector": [1.0]}]])

    with pytest.raises(IntegrityFailed, match="size"):
        write(path, other_size)
    with pytest.raises(InsufficientSpace):
        parquet.write_parquet(pages(3, 3), Full(), params=PLAIN, about={}, progress=NO_PROGRESS)  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotWritable):
        write(tmp_path / "nowhere" / "x.parquet", pages(3, 3))
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = CommandLine(tmp_path)

    line.inside("points", "--parquet", "x.parquet").failed(64, "pyarrow", "pip install 'qdrant-backup[parquet]'")
    line.inside("points", "--force").failed(64, "without --parquet")
