"""Scripted faults strike whom they name, as often as they say, and do what they say."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.servers import RunningServer

C = "/collections/c"
POINTS = {"points": [{"id": number, "vector": [number, 1], "payload": {"n": number}} for number in range(20)]}


@pytest.fixture
def server(embedded_server: RunningServer) -> RunningServer:
    assert embedded_server.call("PUT", C, {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2})[0] == 200
    embedded_server.call("PUT", f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    assert embedded_server.call("PUT", f"{C}/points?wait=true", POINTS)[0] == 200
    return embedded_server


def count(server: RunningServer) -> int:
    return server.call("POST", f"{C}/points/count", {})[1]["result"]["count"]


def snapshot(server: RunningServer) -> tuple[str, bytes]:
    name = server.call("POST", f"{C}/snapshots")[1]["result"]["name"]
    return name, server.call("GET", f"{C}/snapshots/{name}")[1]


def test_a_status_strikes_after_and_as_often_as_it_says(server: RunningServer) -> None:
    server.script(
        {"match": "GET /collections/*", "action": "status", "code": 503, "body": "busy", "after": 1, "times": 2}
    )
    statuses = [server.call("GET", C)[0] for _ in range(5)]
    assert statuses == [200, 503, 503, 200, 200]
    assert server.fired() == [2]
    server.script({"match": "* /collections/c", "action": "status", "code": 429, "body": {"any": 1}, "times": None})
    assert [server.call("GET", C) for _ in range(3)] == [(429, {"any": 1})] * 3


def test_a_page_and_a_pretence_hide_that_nothing_was_done(server: RunningServer) -> None:
    name, _ = snapshot(server)
    server.script(
        {"match": "GET /collections", "action": "html"},
        {"match": "DELETE /collections/c/snapshots/*", "action": "pretend"},
    )
    assert b"<html>" in server.call("GET", "/collections")[1]
    assert server.call("DELETE", f"{C}/snapshots/{name}")[1]["result"] is True
    assert [one["name"] for one in server.call("GET", f"{C}/snapshots")[1]["result"]] == [name]


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_a_broken_download_ends_early(server: RunningServer, action: str) -> None:
    name, archive = snapshot(server)
    server.script({"match": "GET /collections/c/snapshots/*", "action": action, "bytes": 5000})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        server.call("GET", f"{C}/snapshots/{name}")
    assert server.call("GET", f"{C}/snapshots/{name}", headers={"range": "bytes=5000-"})[1] == archive[5000:]


def test_a_stream_that_fails_ends_as_if_it_were_whole(server: RunningServer) -> None:
    whole = server.call("GET", f"{C}/shards/0/snapshot")[1]
    server.script({"match": "GET /collections/c/shards/0/snapshot", "action": "cut", "bytes": 7000, "clean": True})
    status, cut = server.call("GET", f"{C}/shards/0/snapshot")
    assert (status, len(cut)) == (200, 7000)
    assert len(whole) > 7000


def test_a_flipped_bit_and_a_false_checksum(server: RunningServer) -> None:
    name, archive = snapshot(server)
    server.script(
        {"match": "GET /collections/c/snapshots/*", "action": "flip", "bytes": 1234},
        {"match": "GET /collections/c/snapshots", "action": "lie_checksum"},
    )
    flipped = server.call("GET", f"{C}/snapshots/{name}")[1]
    assert [at for at, (one, other) in enumerate(zip(archive, flipped, strict=True)) if one != other] == [1234]
    told = server.call("GET", f"{C}/snapshots")[1]["result"][0]["checksum"]
    assert told != server.call("GET", f"{C}/snapshots")[1]["result"][0]["checksum"]


def test_no_answer_and_yet_it_is_done(server: RunningServer) -> None:
    server.script({"match": "POST /collections/c/snapshots", "action": "no_answer"})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.call("POST", f"{C}/snapshots")
    assert len(server.call("GET", f"{C}/snapshots")[1]["result"]) == 1


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        ({"action": "lose_points", "points": 3}, 17),
        ({"action": "lose_shard", "shard": 1}, None),
        ({"action": "drop_indexes"}, 20),
    ],
    ids=["points", "shard", "indexes"],
)
def test_a_restore_that_answers_200_and_lost_something(
    server: RunningServer, fault: dict[str, Any], left: int | None
) -> None:
    _, archive = snapshot(server)
    server.script({"match": "POST /collections/c/snapshots/upload", **fault})
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    shards = server.call("GET", f"{C}/cluster")[1]["result"]["local_shards"]
    if left is None:
        assert [shard["points_count"] > 0 for shard in shards] == [True, False]
    else:
        assert count(server) == left
    schema = server.call("GET", C)[1]["result"]["payload_schema"]
    assert set(schema) == (set() if fault["action"] == "drop_indexes" else {"n"})
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    assert count(server) == 20


def test_a_restore_that_fails_after_the_old_data_was_dropped(server: RunningServer) -> None:
    _, archive = snapshot(server)
    server.script({"match": "POST /collections/c/snapshots/upload", "action": "fail_after_drop"})
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 500
    status, answer = server.call("GET", C)
    assert status == 500
    assert "Failed to restore local replica" in answer["status"]["error"]
    assert server.call("GET", f"{C}/cluster")[1]["result"]["local_shards"][0]["state"] == "Active"
    assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    assert count(server) == 20


def test_an_abandoned_upload_goes_on_and_telemetry_shows_it(
    server: RunningServer, eventually: Callable[..., None]
) -> None:
    _, archive = snapshot(server)
    server.call("POST", f"{C}/points/delete?wait=true", {"points": [1, 2, 3]})
    server.script({"match": "POST /collections/c/snapshots/upload", "action": "slow_restore", "delay_s": 1.5})

    def recovering() -> int:
        return server.call("GET", "/telemetry?details_level=3")[1]["result"]["collections"]["snapshots"][0][
            "running_snapshot_recovery"
        ]

    assert server.upload(f"{C}/snapshots/upload?wait=false", archive)[0] == 202
    eventually(lambda: recovering() == 1)
    assert count(server) == 17
    eventually(lambda: recovering() == 0)
    assert count(server) == 20


@pytest.mark.parametrize(("stage", "left"), [("before_drop", 17), ("after_drop", None), ("loaded", 20)])
def test_a_server_that_dies_during_a_restore(fresh_embedded: RunningServer, stage: str, left: int | None) -> None:
    server = fresh_embedded
    server.call("PUT", C, {"vectors": {"size": 2, "distance": "Dot"}})
    server.call("PUT", f"{C}/points?wait=true", POINTS)
    _, archive = snapshot(server)
    server.call("POST", f"{C}/points/delete?wait=true", {"points": [1, 2, 3]})
    server.script({"match": "POST /collections/c/snapshots/upload", "action": "die", "stage": stage})
    with pytest.raises((http.client.HTTPException, OSError)):
        server.upload(f"{C}/snapshots/upload", archive)
    server.process.wait(60)
    server.restart()
    if left is None:
        assert server.call("GET", C)[0] == 500
        assert server.upload(f"{C}/snapshots/upload", archive)[0] == 200
    assert count(server) == (left or 20)


def test_a_script_that_makes_no_sense_is_refused_whole(server: RunningServer) -> None:
    for script in ([{"match": "GET /", "action": "nonsense"}], [{"match": "GET /", "action": "html", "extra": 1}], {}):
        status, answer = server.call("PUT", "/__faults", script)
        assert status == 400
        assert answer["status"]["error"]
    assert json.loads(json.dumps(server.call("GET", "/__faults")[1])) == []
