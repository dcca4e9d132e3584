"""Snapshots: made, listed, downloaded, uploaded, restored; on the server that made them and on the other one."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from array import array
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge

from qdrant_backup.archive.walk import ArchiveWalker
from support.servers import RunningServer

C = "/collections/c"
BODY = {
    "vectors": {
        "": {"size": 4, "distance": "Cosine"},
        "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {"modifier": "idf"}},
    "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    "metadata": {"owner": "tests"},
}
INDEXES: dict[str, Any] = {
    "tag": {"type": "keyword", "is_tenant": True},
    "n": "integer",
    "text": {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20},
}


def points(first: int, count: int) -> dict[str, Any]:
    return {
        "points": [
            {
                "id": number if number % 2 else f"00000000-0000-4000-8000-{number:012d}",
                "vector": {
                    "": [number + 1, 1, 0.5, -number],
                    # Two rows of whole numbers would be a sparse vector to the server.
                    "rows": [[float(number), 1.0], [0.25, 3.0]],
                    "words": {"indices": [1, number + 5], "values": [0.5, 0.125]},
                },
                "payload": {"tag": f"t{number % 3}", "n": number, "text": f"the fox {number}", "x": [1.0, None]},
            }
            for number in range(first, first + count)
        ]
    }


def fill(server: RunningServer, path: str = C, *, shards: int = 1, count: int = 50) -> None:
    assert server.call("PUT", path, {**BODY, "shard_number": shards})[0] == 200
    for field, schema in INDEXES.items():
        assert server.call("PUT", f"{path}/index?wait=true", {"field_name": field, "field_schema": schema})[0] == 200
    assert server.call("PUT", f"{path}/points?wait=true", points(0, count))[0] == 200


def content(server: RunningServer, path: str = C) -> Any:
    status, answer = server.call("POST", f"{path}/points/scroll", {"limit": 10_000, "with_vector": True})
    assert status == 200, answer
    # One server writes a float32 with as few digits as tell it from others, the other with as many as a double has.
    return json.loads(json.dumps(answer["result"]["points"]), parse_float=lambda text: array("f", [float(text)])[0])


def snapshot(server: RunningServer, path: str = C) -> tuple[dict[str, Any], bytes]:
    status, answer = server.call("POST", f"{path}/snapshots")
    assert status == 200, answer
    described = answer["result"]
    status, archive = server.call("GET", f"{path}/snapshots/{described['name']}")
    assert status == 200
    return described, archive


def members(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        return tar.getnames()


def test_a_snapshot_is_listed_with_its_size_and_checksum_until_it_is_deleted(server: RunningServer) -> None:
    fill(server)
    described, archive = snapshot(server)
    assert described["size"] == len(archive)
    assert described["checksum"] == hashlib.sha256(archive).hexdigest()
    peer = server.call("GET", f"{C}/cluster")[1]["result"]["peer_id"]
    assert described["name"].startswith(f"c-{peer}-")
    assert server.call("GET", f"{C}/snapshots")[1]["result"] == [described]
    assert server.call("DELETE", f"{C}/snapshots/{described['name']}")[1]["result"] is True
    assert server.call("GET", f"{C}/snapshots")[1]["result"] == []


def test_a_snapshot_of_a_collection_whose_name_begins_with_a_dot_is_listed(server: RunningServer) -> None:
    fill(server, "/collections/.hidden", count=1)
    described, _ = snapshot(server, "/collections/.hidden")
    assert server.call("GET", "/collections/.hidden/snapshots")[1]["result"] == [described]


def test_a_snapshot_has_the_members_of_the_servers_own(server: RunningServer) -> None:
    fill(server, shards=2)
    names = members(snapshot(server)[1])
    assert names[-4:] == ["version.info", "config.json", "shard_key_mapping.json", "payload_index.json"]
    for shard in "01":
        assert [name for name in names if name.startswith(f"{shard}/segments/") and name.endswith(".tar")]
        assert [name for name in names if name.startswith(f"{shard}/wal/")]
        assert f"{shard}/replica_state.json" in names
        assert f"{shard}/shard_config.json" in names


def test_a_download_resumes_where_it_was_cut(server: RunningServer) -> None:
    fill(server)
    described, archive = snapshot(server)
    status, rest = server.call("GET", f"{C}/snapshots/{described['name']}", headers={"range": "bytes=1000-"})
    assert status == 206
    assert rest == archive[1000:]


@pytest.mark.parametrize("shards", [1, 3])
def test_an_upload_makes_a_missing_collection_as_it_was(server: RunningServer, shards: int) -> None:
    fill(server, shards=shards)
    described, archive = snapshot(server)
    assert (
        server.upload(f"/collections/d/snapshots/upload?checksum={described['checksum']}", archive)[1]["result"] is True
    )
    assert content(server, "/collections/d") == content(server)
    before, after = (server.call("GET", path)[1]["result"] for path in (C, "/collections/d"))
    assert after["config"] == before["config"]
    assert after["payload_schema"] == before["payload_schema"]
    assert [one["name"] for one in server.call("GET", "/collections/d/snapshots")[1]["result"]] == ["upload.snapshot"]


def test_an_upload_replaces_points_and_leaves_settings(server: RunningServer) -> None:
    fill(server)
    archive, before = snapshot(server)[1], content(server)
    server.call("PUT", f"{C}/points?wait=true", points(1000, 30))
    server.call("PATCH", C, {"optimizers_config": {"indexing_threshold": 777}})
    server.call("DELETE", f"{C}/index/n?wait=true")
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    assert content(server) == before
    info = server.call("GET", C)[1]["result"]
    assert info["config"]["optimizer_config"]["indexing_threshold"] == 777
    # The collection's own schema stays, and yet an index that lies in the restored segments is listed again.
    assert set(info["payload_schema"]) == {"tag", "text", "n"}


def test_points_can_be_written_after_a_restore(server: RunningServer) -> None:
    fill(server)
    archive = snapshot(server)[1]
    assert server.upload("/collections/d/snapshots/upload", archive)[0] == 200
    path = "/collections/d/points"
    changed = {"points": [{**points(1, 1)["points"][0], "payload": {"new": True}}]}
    assert server.call("PUT", f"{path}?wait=true", changed)[0] == 200
    assert server.call("POST", f"{path}/delete?wait=true", {"points": [3]})[0] == 200
    assert server.call("POST", path, {"ids": [1, 3], "with_payload": True})[1]["result"] == [
        {"id": 1, "payload": {"new": True}}
    ]


def test_an_upload_under_an_alias_replaces_what_is_behind_it(server: RunningServer) -> None:
    fill(server)
    archive, before = snapshot(server)[1], content(server)
    action = {"create_alias": {"collection_name": "c", "alias_name": "now"}}
    assert server.call("POST", "/collections/aliases", {"actions": [action]})[0] == 200
    server.call("POST", f"{C}/points/delete?wait=true", {"points": [1, 3, 5]})
    assert server.upload("/collections/now/snapshots/upload", archive)[0] == 200
    assert content(server) == before
    assert [one["name"] for one in server.call("GET", "/collections")[1]["result"]["collections"]] == ["c"]


def test_a_wrong_checksum_changes_nothing(server: RunningServer) -> None:
    fill(server)
    archive, before = snapshot(server)[1], content(server)
    status, answer = server.upload(f"{C}/snapshots/upload?checksum={'0' * 64}", archive)
    assert status == 400
    assert "Checksum mismatch" in answer["status"]["error"]
    assert content(server) == before


def test_a_snapshot_with_other_vectors_is_refused(server: RunningServer) -> None:
    fill(server)
    archive = snapshot(server)[1]
    server.call("PUT", "/collections/d", {"vectors": {"size": 3, "distance": "Dot"}})
    status, answer = server.upload("/collections/d/snapshots/upload", archive)
    assert status == 400
    assert "Snapshot is not compatible with existing collection" in answer["status"]["error"]
    assert server.call("GET", "/collections/d")[0] == 200


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_cut_archive_changes_nothing(server: RunningServer, cut: float) -> None:
    fill(server)
    archive, before = snapshot(server)[1], content(server)
    # Within a member's data: between two members neither server notices.
    assert server.upload(f"{C}/snapshots/upload", archive[: int(len(archive) * cut) | 1])[0] >= 400
    assert content(server) == before


def test_a_damaged_segment_leaves_a_broken_collection_until_a_good_upload(server: RunningServer) -> None:
    fill(server)
    archive, before = snapshot(server)[1], content(server)
    damaged = archive.replace(b'{"initial_version"', b'{"initial_versiom"').replace(
        b'"payload_storage_type"', b'"payload_storage_typo"'
    )
    assert damaged != archive
    assert server.upload(f"{C}/snapshots/upload", damaged)[0] == 500
    assert server.call("GET", C)[0] == 500
    assert server.call("POST", f"{C}/points/count", {})[0] == 500
    assert server.call("GET", "/readyz")[0] == 200
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    assert content(server) == before


def test_a_snapshot_is_recovered_from_its_file_and_from_the_server_itself(server: RunningServer) -> None:
    fill(server)
    described, before = snapshot(server)[0], content(server)
    location = f"{server.url}{C}/snapshots/{described['name']}"
    body = {"location": location, "api_key": server.api_key, "checksum": described["checksum"]}
    status, answer = server.call("PUT", "/collections/d/snapshots/recover", body)
    assert (status, answer["result"]) == (200, True)
    assert content(server, "/collections/d") == before
    (file,) = server.data_dir.glob(f"**/{described['name']}")
    assert server.call("PUT", "/collections/e/snapshots/recover", {"location": file.as_uri()})[0] == 200
    assert content(server, "/collections/e") == before


def test_a_shard_is_streamed_and_put_back(server: RunningServer) -> None:
    fill(server, shards=2)
    before = content(server)
    streams = [server.call("GET", f"{C}/shards/{shard}/snapshot")[1] for shard in (0, 1)]
    for stream in streams:
        assert members(stream)[-2:] == ["replica_state.json", "shard_config.json"]
        assert stream.endswith(bytes(1024))
    server.call("POST", f"{C}/points/delete?wait=true", {"filter": {}})
    for shard, stream in enumerate(streams):
        assert server.upload(f"{C}/shards/{shard}/snapshots/upload", stream)[1]["result"] is None
    assert content(server) == before


def test_a_shards_stored_snapshot_is_recovered_by_name(server: RunningServer) -> None:
    fill(server)
    before = content(server)
    path = f"{C}/shards/0/snapshots"
    described = server.call("POST", path)[1]["result"]
    assert described["name"].startswith("c-shard-0-")
    server.call("POST", f"{C}/points/delete?wait=true", {"points": [1, 3, 5]})
    body = {"location": described["name"], "checksum": described["checksum"]}
    assert server.call("PUT", f"{path}/recover", body)[0] == 200
    assert content(server) == before
    assert [one["name"] for one in server.call("GET", path)[1]["result"]] == [described["name"]]
    assert server.call("GET", f"{C}/snapshots")[1]["result"] == []
    assert server.call("DELETE", f"{path}/{described['name']}")[0] == 200


def test_the_partial_manifest_moves_with_every_write(server: RunningServer) -> None:
    fill(server)
    path = f"{C}/shards/0/snapshot/partial/manifest"

    def versions() -> list[int]:
        return [segment["segment_version"] or 0 for segment in server.call("GET", path)[1]["result"].values()]

    before = versions()
    assert versions() == before
    server.call("POST", f"{C}/points/payload?wait=true", {"payload": {"seen": 1}, "points": [1]})
    assert max(versions()) > max(before)


@pytest.mark.real
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("direction", [("embedded", "real"), ("real", "embedded")], ids="-to-".join)
def test_snapshots_go_from_one_server_to_the_other(
    shared_servers: Any, direction: tuple[str, str], shards: int
) -> None:
    source, target = (shared_servers.get(kind) for kind in direction)
    try:
        fill(source, shards=shards)
        source.call("POST", f"{C}/points/delete?wait=true", {"points": [7, 9]})
        archive = snapshot(source)[1]
        assert target.upload(f"{C}/snapshots/upload", archive)[1]["status"] == "ok"
        assert content(target) == content(source)
        mine, theirs = (server.call("GET", C)[1]["result"] for server in (source, target))
        assert mine["config"] == theirs["config"]
        assert mine["payload_schema"] == theirs["payload_schema"]
        query = {
            "query": [3, 1, 0.5, -2],
            "using": "",
            "limit": 5,
            "filter": {"must": [{"key": "tag", "match": {"value": "t1"}}]},
        }
        found = [server.call("POST", f"{C}/points/query", query)[1]["result"]["points"] for server in (source, target)]
        assert [one["id"] for one in found[0]] == [one["id"] for one in found[1]]
        for server in (source, target):
            assert server.call("PUT", f"{C}/points?wait=true", points(20, 60))[0] == 200
            assert server.call("POST", f"{C}/points/delete?wait=true", {"points": [11]})[0] == 200
        assert content(target) == content(source)
        for shard in range(shards):
            stream = source.call("GET", f"{C}/shards/{shard}/snapshot")[1]
            assert target.upload(f"{C}/shards/{shard}/snapshots/upload", stream)[0] == 200
        assert content(target) == content(source)
    finally:
        source.empty()
        target.empty()


def test_the_engines_own_unpacker_reads_a_shards_archives(server: RunningServer, tmp_path: Path) -> None:
    fill(server)
    server.call("POST", f"{C}/points/delete?wait=true", {"points": [7]})
    path = f"{C}/shards/0/snapshots"
    name = server.call("POST", path)[1]["result"]["name"]
    archives = [server.call("GET", f"{C}/shards/0/snapshot")[1], server.call("GET", f"{path}/{name}")[1]]
    for number, archive in enumerate(archives):
        (tmp_path / "archive").write_bytes(archive)
        directory = tmp_path / str(number)
        qdrant_edge.EdgeShard.unpack_snapshot(str(tmp_path / "archive"), str(directory))
        shard = qdrant_edge.EdgeShard.load(str(directory))
        assert shard.count(qdrant_edge.CountRequest()) == 49
        shard.close()


def test_the_archive_room_finds_a_snapshot_whole(server: RunningServer) -> None:
    fill(server, shards=2)
    walker = ArchiveWalker()
    walker.feed(snapshot(server)[1])
    report = walker.finish()
    assert len(report.shards) == 2
