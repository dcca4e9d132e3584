"""The same calls against the embedded server, and against a real one where there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from qdrant_backup.clock import SystemClock
from qdrant_backup.errors import AccessDenied, CollectionMissing, ServerRefused
from qdrant_backup.model import CollectionName, SnapshotDescription
from qdrant_backup.qdrant.rights import NEEDS
from qdrant_backup.qdrant.server import Http, Server, Target
from qdrant_backup.secret import Secret
from support.servers import KINDS, RunningServer

BODY = {"vectors": {"size": 4, "distance": "Dot"}, "optimizers_config": {"indexing_threshold": 100_000}}
NAME = CollectionName("Übung 50% a+b")


@pytest.fixture(params=KINDS)
def running(request, shared_servers) -> Iterator[RunningServer]:
    found = shared_servers.get(request.param)
    yield found
    found.empty()


@pytest.fixture
def connected(running) -> Iterator[Callable[[str | None], Server]]:
    made: list[Server] = []

    def make(key: str | None) -> Server:
        target = Target.parse(running.url, api_key=Secret(key) if key else None)
        made.append(Server(Http(target, clock=SystemClock())))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def calls(running, connected) -> Server:
    """Connected with the full key, to a server with one collection of 50 points, an index and an alias."""
    calls = connected(running.api_key)
    calls.create_collection(NAME, BODY)
    calls.create_payload_index(NAME, "meta.kind", "keyword")
    points = [{"id": n, "vector": [n, 1, 2, 3], "payload": {"meta": {"kind": f"k{n % 3}"}}} for n in range(1, 51)]
    path = "/collections/%C3%9Cbung%2050%25%20a%2Bb/points?wait=true"
    status, answer = running.call("PUT", path, {"points": points})
    assert status == 200, answer
    calls.create_alias("now", NAME)
    return calls


def test_who_is_there(calls):
    identity = calls.identity()
    assert identity.version[0].isdigit()
    assert identity.process_id
    calls.refuse_clusters()


def test_collections_aliases_and_indexes(calls):
    assert calls.collections() == (NAME,)
    assert calls.aliases() == {"now": NAME}
    assert not calls.exists("now")
    info = calls.collection(NAME)
    assert info.config["params"]["vectors"]["size"] == 4
    assert info.payload_schema["meta.kind"]["data_type"] == "keyword"
    calls.delete_payload_index(NAME, "meta.kind")
    assert calls.collection(NAME).payload_schema == {}
    calls.update_collection(NAME, {"optimizers_config": {"indexing_threshold": 7000}})
    assert calls.collection(NAME).config["optimizer_config"]["indexing_threshold"] == 7000
    calls.delete_alias("now")
    assert calls.aliases() == {}
    with pytest.raises(CollectionMissing):
        calls.collection("nope")
    assert calls.delete_collection(NAME) is True
    assert calls.delete_collection(NAME) is False


def test_points(calls):
    assert calls.count(NAME) == 50
    pages = list(calls.scroll(NAME, limit=20, with_vector=True))
    assert [len(page) for page in pages] == [20, 20, 10]
    assert pages[0][0] == {**pages[0][0], "id": 1, "payload": {"meta": {"kind": "k1"}}, "vector": [1, 1, 2, 3]}
    assert {one["id"] for one in calls.retrieve(NAME, [7, 999])} == {7}


def test_shards_and_tasks(running, calls):
    (replica,) = calls.replicas(NAME)
    assert (replica.shard_id, replica.state, replica.local) == (0, "Active", True)
    assert calls.recoveries_running(NAME) == 0
    assert calls.snapshots_running(NAME) == 0
    assert 0 < calls.estimated_bytes(NAME) < 100_000_000
    calls.wait_for_recovery_end(NAME)
    before, versions = calls.optimizer_state(NAME), calls.segment_versions(NAME, [0])
    if running.kind == "real":
        assert before is not None
        assert versions is not None
    if before is not None:
        assert before.running == 0
    if versions is not None:
        running.call("PUT", "/collections/now/points?wait=true", {"points": [{"id": 99, "vector": [1, 2, 3, 4]}]})
        assert calls.segment_versions(NAME, [0]) != versions


def test_a_snapshot_goes_out_and_comes_back(calls):
    made = calls.create_snapshot(NAME)
    assert calls.snapshots(NAME) == (made,)
    with calls.download_snapshot(NAME, made) as download:
        archive = b"".join(download)
    assert len(archive) == made.size_bytes
    assert hashlib.sha256(archive).hexdigest() == made.checksum
    assert calls.delete_snapshot(NAME, made.name) is True
    assert calls.delete_snapshot(NAME, made.name) is True
    assert calls.snapshots(NAME) == ()
    sent = {"chunks": lambda: [archive], "size_bytes": len(archive)}
    calls.upload_snapshot("copy", snapshot_name="up.snapshot", checksum=made.checksum, **sent)
    assert calls.count("copy") == 50
    assert [one.name for one in calls.snapshots("copy")] == ["up.snapshot"]
    assert calls.delete_snapshot("copy", "up.snapshot") is True
    with pytest.raises(ServerRefused, match=r"(?i)checksum mismatch"):
        calls.upload_snapshot(NAME, snapshot_name="bad.snapshot", checksum="0" * 64, **sent)
    assert calls.count(NAME) == 50


def test_a_download_is_resumed_at_any_byte(running, calls):
    from support.relay import Close, Relay, Rule

    made = calls.create_snapshot(NAME)
    relay = Relay(running.port)
    relay.rules += [Rule("GET *.snapshot", Close(after=after)) for after in (1, 1000, made.size_bytes // 3)]
    through = Server(Http(Target.parse(relay.url, api_key=Secret(running.api_key)), clock=SystemClock()))
    try:
        with through.download_snapshot(NAME, made) as download:
            archive = b"".join(download)
        assert hashlib.sha256(archive).hexdigest() == made.checksum
        assert download.resumed == 3
    finally:
        through.close()
        relay.close()
    relay.assert_all_fired()


def test_a_shard_is_streamed_to_its_end_blocks(calls):
    with calls.stream_shard_snapshot(NAME, 0) as stream:
        archive = b"".join(stream)
    assert archive.endswith(bytes(1024))


def test_a_lost_creation_is_adopted(running, calls):
    from support.relay import DropReply, Relay, Rule

    relay = Relay(running.port)
    relay.rules.append(Rule("POST */snapshots*", DropReply()))
    through = Server(Http(Target.parse(relay.url, api_key=Secret(running.api_key)), clock=SystemClock()))
    try:
        made = through.create_snapshot(NAME)
    finally:
        through.close()
        relay.close()
    relay.assert_all_fired()
    assert calls.snapshots(NAME) == (made,)


def test_the_full_key_passes_every_probe_and_touches_nothing(calls):
    calls.probe([NAME], NEEDS)
    assert calls.snapshots(NAME) == ()
    assert calls.aliases() == {"now": NAME}
    assert calls.collections() == (NAME,)


def test_the_read_only_key_may_read_and_is_told_what_it_lacks(running, connected, calls):
    reader = connected(running.read_only_api_key)
    reader.probe([NAME], ["read"])
    for need, right in (("snapshot", "snapshot"), ("restore", "restore"), ("aliases", "aliases")):
        with pytest.raises(AccessDenied, match=f"403: the key lacks a right, {right}"):
            reader.probe([NAME], [need])


def test_no_key_and_a_wrong_key_are_told_apart(running, connected, calls):
    with pytest.raises(AccessDenied, match="none was given"):
        connected(None).collections()
    with pytest.raises(AccessDenied, match="does not know this API key"):
        connected("wrong").collections()
    assert connected(None).identity().version


def test_a_missing_snapshot_is_refused_in_the_servers_words(calls):
    with pytest.raises(ServerRefused, match="404"):
        calls.download_snapshot(NAME, SnapshotDescription("nope.snapshot", 5))
