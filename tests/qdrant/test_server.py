"""The typed calls: what is asked, and what is made of the answer."""

from __future__ import annotations

import json

import pytest

from qdrant_backup.errors import (
    AccessDenied,
    CollectionFailed,
    ConnectionFailed,
    Incompatible,
    IntegrityFailed,
    NotQdrant,
    OperationFailed,
    ServerRefused,
)
from qdrant_backup.model import NO_PROGRESS, Checksum, Replica, SnapshotDescription
from qdrant_backup.qdrant.rights import NEEDS
from qdrant_backup.qdrant.server import OptimizerState, Unanswered
from support.relay import Answer, Close, DropReply, Reset, Rule
from support.scripted import Reply

SUM = {letter: Checksum(letter * 64) for letter in "abc"}
SNAPSHOTS = "/collections/c/snapshots"


def described(name: str, letter: str | None = "a", size: int = 10):
    return {"name": name, "size": size, "creation_time": "2026-02-03T14:30:52", "checksum": letter and SUM[letter]}


def telemetry(recovering: int = 0, snapshotting: int = 0, name: str = "c", **more):
    tasks = {"id": name, "running_snapshots": snapshotting, "running_snapshot_recovery": recovering}
    return Reply.result({"id": "uuid", "collections": {"number_of_collections": 1, "snapshots": [tasks], **more}})


def cluster(*uris: str) -> Reply:
    peers = {str(10**18 + n): {"uri": uri} for n, uri in enumerate(uris)}
    return Reply.result({"status": "enabled", "peer_id": 10**18, "peers": peers, "raft_info": {"term": 1}})


# Identity


def test_the_identity_has_version_process_and_peers(qdrant, server):
    qdrant.on("GET /telemetry", telemetry())
    qdrant.on("GET /cluster", cluster("http://b:6335/", "http://a:6335/"))
    identity = server.identity()
    assert (identity.version, identity.commit, identity.process_id) == ("1.18.3", "abc", "uuid")
    assert (identity.peer_id, identity.peers) == (10**18, ("http://a:6335/", "http://b:6335/"))


def test_the_identity_does_without_what_the_key_may_not_see(qdrant, server):
    qdrant.on("GET /telemetry", Reply.error(403, "Forbidden"))
    qdrant.on("GET /cluster", Reply(401, b"Must provide an API key"))
    identity = server.identity()
    assert (identity.version, identity.process_id, identity.peer_id, identity.peers) == ("1.18.3", "", 0, ())


def test_a_key_that_may_not_see_the_peers_is_one_for_some_collections(qdrant, server):
    qdrant.on("GET /telemetry", telemetry())
    assert not server.identity().scoped  # Servers without the route answer 404.
    qdrant.on("GET /cluster", Reply.error(403, "Forbidden: Global access is required"))
    assert server.identity().scoped


def test_shards_on_other_peers_give_a_cluster_away(server):
    mine, theirs = Replica(0, "Active", 1, local=True), Replica(1, "Active", 2, local=False)
    server.refuse_shards_elsewhere("c", [mine])
    with pytest.raises(Incompatible, match="one of 2 peers that hold 'c'"):
        server.refuse_shards_elsewhere("c", [mine, theirs])


@pytest.mark.parametrize("words", ["InvalidSignature", "ExpiredSignature"])
def test_a_token_that_is_not_accepted_is_no_missing_right(qdrant, server, words):
    qdrant.on("GET /collections", Reply(403, words.encode()))
    with pytest.raises(AccessDenied, match=f"does not accept this token .{words}"):
        server.collections()


@pytest.mark.fault("Q04")
def test_a_cluster_is_refused_and_a_single_peer_is_not(qdrant, server):
    qdrant.on("GET /cluster", Reply.result({"status": "disabled"}))
    server.refuse_clusters()
    qdrant.on("GET /cluster", cluster("http://a:6335/"))
    server.refuse_clusters()
    qdrant.on("GET /cluster", cluster("http://a:6335/", "http://b:6335/", "http://c:6335/"))
    with pytest.raises(Incompatible, match=r"cluster of 3 peers.*nothing was backed up"):
        server.refuse_clusters()


# Collections and aliases


def test_an_alias_is_not_a_collection(qdrant, server):
    qdrant.on("GET /collections", Reply.result({"collections": [{"name": "real"}]}))
    qdrant.on("GET /collections/alias/exists", Reply.result({"exists": True}))
    assert server.exists("real")
    assert not server.exists("alias")


def test_counting_is_exact_unless_told_otherwise(qdrant, server):
    qdrant.on("POST /collections/c/points/count", Reply.result({"count": 7}))
    assert server.count("c") == 7
    server.count("c", exact=False)
    assert [json.loads(one.body) for one in qdrant.requests] == [{"exact": True}, {"exact": False}]


def test_result_false_is_not_a_deletion(qdrant, server):
    qdrant.on("DELETE /collections/c", Reply.result(False))
    assert server.delete_collection("c") is False
    qdrant.on("PUT /collections/c", Reply.result(False))
    with pytest.raises(OperationFailed, match="result: false"):
        server.create_collection("c", {})


UPDATES = [
    ("PUT /collections/c/index", lambda server: server.create_payload_index("c", "f", "keyword")),
    ("DELETE /collections/c/index/f", lambda server: server.delete_payload_index("c", "f")),
    ("PUT /collections/c/points", lambda server: server.upsert("c", [{"id": 1, "vector": [1.0]}])),
    ("POST /collections/c/points/delete", lambda server: server.delete_points("c", [1])),
]


@pytest.mark.parametrize(("route", "change"), UPDATES)
def test_an_update_is_done_only_when_the_server_calls_it_completed(qdrant, server, route, change):
    qdrant.on(route, Reply.page(200))
    with pytest.raises(NotQdrant, match="web page"):
        change(server)
    for status in ("acknowledged", "wait_timeout", "clock_rejected"):
        qdrant.on(route, Reply.result({"operation_id": 1, "status": status}))
        with pytest.raises(OperationFailed, match=status):
            change(server)
    qdrant.on(route, Reply.result({"operation_id": 1, "status": "completed"}))
    change(server)


def test_bodies_and_paths_of_changes(qdrant, server):
    qdrant.on("PUT /collections/c", Reply.result(True))
    qdrant.on("PATCH /collections/c", Reply.result(True))
    qdrant.on("PUT /collections/c/index", Reply.result({"operation_id": 1, "status": "completed"}))
    qdrant.on("DELETE /collections/c/index/meta.a%2Fb%5B%5D", Reply.result({"status": "completed"}))
    qdrant.on("POST /collections/aliases", Reply.result(True))
    server.create_collection("c", {"vectors": {}})
    server.update_collection("c", {"params": {}})
    server.create_payload_index("c", "meta.a", {"type": "keyword", "is_tenant": True})
    server.delete_payload_index("c", "meta.a/b[]")
    server.create_alias("now", "c")
    server.delete_alias("now")
    bodies = [json.loads(one.body) if one.body else None for one in qdrant.requests]
    assert bodies == [
        {"vectors": {}},
        {"params": {}},
        {"field_name": "meta.a", "field_schema": {"type": "keyword", "is_tenant": True}},
        None,
        {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "now"}}]},
        {"actions": [{"delete_alias": {"alias_name": "now"}}]},
    ]
    assert [one.target.partition("?")[2] for one in qdrant.requests[2:4]] == ["wait=true", "wait=true"]


def test_aliases_are_a_table(qdrant, server):
    pairs = [{"alias_name": "now", "collection_name": "c"}, {"alias_name": "old", "collection_name": "ü"}]
    qdrant.on("GET /aliases", Reply.result({"aliases": pairs}))
    assert server.aliases() == {"now": "c", "old": "ü"}


# Points


def test_scrolling_follows_the_offsets_to_the_end(qdrant, server):
    pages = [
        {"points": [{"id": 1}], "next_page_offset": 2},
        {"points": [{"id": 2}], "next_page_offset": "0e1e-uuid"},
        {"points": [], "next_page_offset": None},
    ]
    qdrant.on("POST /collections/c/points/scroll", *map(Reply.result, pages))
    assert list(server.scroll("c", limit=1)) == [[{"id": 1}], [{"id": 2}], []]
    assert [json.loads(one.body)["offset"] for one in qdrant.requests] == [None, 2, "0e1e-uuid"]


def test_scrolling_in_a_circle_ends(qdrant, server):
    qdrant.on("POST /collections/c/points/scroll", Reply.result({"points": [], "next_page_offset": 2}))
    with pytest.raises(NotQdrant, match="over and over"):
        list(server.scroll("c"))


def test_points_are_retrieved_raw(qdrant, server):
    points = [{"id": 1, "payload": {"a": 1.5}, "vector": [0.1]}]
    qdrant.on("POST /collections/c/points", Reply.result(points))
    assert server.retrieve("c", [1, 2], with_vector=True) == points
    assert json.loads(qdrant.requests[0].body) == {"ids": [1, 2], "with_payload": True, "with_vector": True}


# Shards and tasks


def test_replicas_tell_local_from_remote(qdrant, server):
    answer = {
        "peer_id": 1,
        "shard_count": 2,
        "local_shards": [{"shard_id": 0, "shard_key": "eu", "points_count": 5, "state": "Active"}],
        "remote_shards": [{"shard_id": 1, "peer_id": 2, "state": "Dead"}],
        "shard_transfers": [],
    }
    qdrant.on("GET /collections/c/cluster", Reply.result(answer))
    assert server.replicas("c") == (
        Replica(0, "Active", 1, local=True, key="eu"),
        Replica(1, "Dead", 2, local=False, key=None),
    )


def test_tasks_are_counted_for_the_collection_asked_for(qdrant, server):
    qdrant.on("GET /telemetry", telemetry(recovering=2, snapshotting=1))
    assert (server.recoveries_running("c"), server.snapshots_running("c")) == (2, 1)
    assert (server.recoveries_running("other"), server.snapshots_running("other")) == (0, 0)
    qdrant.on("GET /telemetry", Reply.result({"id": "x", "collections": {"number_of_collections": 0}}))
    assert server.recoveries_running("c") == 0


def test_the_optimizer_is_quiet_only_when_nothing_ran_and_nothing_ended(qdrant, server):
    def state(running, completed):
        return {"summary": {}, "running": [{"uuid": u} for u in running], "completed": [{"uuid": u} for u in completed]}

    looks = [state([], ["a", "b"]), state([], ["b", "a"]), state(["c"], ["a", "b"]), state([], ["a", "b", "c"])]
    qdrant.on("GET /collections/c/optimizations", *map(Reply.result, looks))
    first, again, busy, later = (server.optimizer_state("c") for _ in looks)
    assert first == again == OptimizerState(0, ("a", "b"))
    assert again.quiet_since(first)
    assert not busy.quiet_since(first)
    assert not later.quiet_since(first)
    assert not later.quiet_since(busy)
    assert qdrant.requests[0].target.endswith("?with=completed")


def test_old_servers_do_not_tell(qdrant, server):
    assert server.optimizer_state("c") is None
    assert server.segment_versions("c", [0]) is None


def test_segment_versions_come_per_shard(qdrant, server):
    for shard in (0, 1):
        manifest = {"seg": {"segment_id": "seg", "segment_version": 40 + shard, "file_versions": {"a": 3, "b": None}}}
        qdrant.on(f"GET /collections/c/shards/{shard}/snapshot/partial/manifest", Reply.result(manifest))
    assert server.segment_versions("c", [0, 1]) == {0: {"seg": 40}, 1: {"seg": 41}}


def test_the_estimate_grows_with_what_telemetry_counts(qdrant, server):
    def sized(vectors, payloads):
        local = {"vectors_size_bytes": vectors, "payloads_size_bytes": payloads}
        others = {"id": "other", "shards": [{"id": 0, "local": {"vectors_size_bytes": 10**12}}]}
        return telemetry(collections=[others, {"id": "c", "shards": [{"id": 0, "local": local}, {"id": 1}]}])

    qdrant.on("GET /telemetry", sized(153_600_000, 51_100_000))
    # The snapshot of this very collection had 298 MB.
    assert 298_000_000 <= server.estimated_bytes("c") <= 330_000_000
    qdrant.on("GET /telemetry", sized(0, 0))
    assert 300_000 <= server.estimated_bytes("c") <= 2_000_000
    assert "details_level=4" in qdrant.requests[0].target


def test_waiting_for_a_recovery_takes_several_quiet_looks(qdrant, server, clock):
    looks = [1, 0, 1, 0, 0, 0, 1]
    qdrant.on("GET /telemetry", *(telemetry(recovering=n) for n in looks))
    server.wait_for_recovery_end("c")
    assert len(qdrant.requests) == 6
    assert clock.passed_s == 5


def test_waiting_for_a_recovery_has_a_limit_only_when_it_is_given_one(qdrant, server, clock):
    qdrant.on("GET /telemetry", telemetry(recovering=1))
    with pytest.raises(Unanswered, match="still being recovered"):
        server.wait_for_recovery_end("c", limit_s=20)
    assert 20 < clock.passed_s < 30


def test_a_server_that_restarts_meanwhile_is_waited_for(qdrant, through, relay):
    qdrant.on("GET /telemetry", telemetry(), telemetry(), telemetry(recovering=1), telemetry())
    relay.rules += [Rule("GET /telemetry*", Reset(), 7)]
    through.wait_for_recovery_end("c")


def test_a_server_that_stays_away_is_not_waited_for_for_ever(qdrant, server, clock):
    qdrant.on("GET /telemetry", Reply(vanish=True))
    with pytest.raises(ConnectionFailed):
        server.wait_for_recovery_end("c")
    assert clock.passed_s < 60


# Snapshots


def test_snapshots_are_listed_in_order_with_what_is_known(qdrant, server):
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([described("b", "b"), {"name": "a", "size": 3, "creation_time": None}]))
    assert server.snapshots("c") == (
        SnapshotDescription("a", 3),
        SnapshotDescription("b", 10, "2026-02-03T14:30:52", SUM["b"]),
    )


def test_a_creation_is_confirmed_in_the_listing(qdrant, server):
    qdrant.on(
        f"GET {SNAPSHOTS}",
        Reply.result([described("old", "b")]),
        Reply.result([described("new"), described("old", "b")]),
    )
    qdrant.on(f"POST {SNAPSHOTS}", Reply.result(described("new")))
    assert server.create_snapshot("c").name == "new"


@pytest.mark.fault("Q16")
def test_a_checksum_that_is_listed_a_moment_later_is_waited_for(qdrant, server):
    bare = described("new", None)
    qdrant.on(f"GET {SNAPSHOTS}", *map(Reply.result, ([], [bare], [bare], [described("new")])))
    qdrant.on(f"POST {SNAPSHOTS}", Reply.result(described("new")))
    assert server.create_snapshot("c").checksum == SUM["a"]


@pytest.mark.fault("Q16")
def test_a_server_without_checksums_is_believed_at_once(qdrant, server, clock):
    bare = described("new", None)
    qdrant.on(f"GET {SNAPSHOTS}", *map(Reply.result, ([], [bare])))
    qdrant.on(f"POST {SNAPSHOTS}", Reply.result(bare))
    assert server.create_snapshot("c").checksum == ""
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([], [described("new", "b")], "same second"),
        ([], [described("new", "a", size=11)], "same second"),
        ([], [], "not listed"),
        ([described("new")], [described("new")], "there before"),
    ],
)
@pytest.mark.fault("Q17")
def test_a_stale_or_foreign_file_under_the_name_is_not_accepted(qdrant, server, before, after, why):
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result(before), Reply.result(after))
    qdrant.on(f"POST {SNAPSHOTS}", Reply.result(described("new")))
    with pytest.raises(IntegrityFailed, match=why) as caught:
        server.create_snapshot("c")
    assert caught.value.collection == "c"


LOST = [DropReply(), Reset(after=4), Close(after=4), Answer(504, b"<html>timeout", deliver=True)]


@pytest.mark.parametrize("fault", LOST)
def test_a_creation_whose_answer_was_lost_is_adopted_and_not_repeated(qdrant, through, relay, clock, fault):
    old, new = described("old", "b"), described("new")
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([old]), Reply.result([old]), Reply.result([old, new]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply.result(new))
    qdrant.on("GET /telemetry", *(telemetry(snapshotting=n) for n in (1, 1, 1, 1, 1, 0)))
    relay.rules.append(Rule(f"POST {SNAPSHOTS}*", fault))
    created = through.create_snapshot("c")
    assert (created.name, created.checksum) == ("new", SUM["a"])
    assert len(qdrant.asked(f"POST {SNAPSHOTS}")) == 1
    assert clock.passed_s >= 7


def test_a_creation_that_takes_longer_than_the_silence_is_waited_for(qdrant, relay, connect):
    new = described("new")
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([]), Reply.result([new]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply(vanish=True))
    qdrant.on("GET /telemetry", *[telemetry(snapshotting=1)] * 15, telemetry())
    assert connect(relay.url, silence_s=5.0).create_snapshot("c", progress=NO_PROGRESS).name == "new"


def test_a_lost_creation_of_which_nothing_came_has_failed(qdrant, server):
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([described("old")]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply(vanish=True))
    qdrant.on("GET /telemetry", telemetry())
    with pytest.raises(CollectionFailed, match="none appeared"):
        server.create_snapshot("c")
    assert len(qdrant.asked(f"POST {SNAPSHOTS}")) == 1


def test_two_new_snapshots_after_a_lost_answer_are_nobodys(qdrant, server):
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([]), Reply.result([described("one"), described("two", "b")]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply(vanish=True))
    qdrant.on("GET /telemetry", telemetry())
    with pytest.raises(CollectionFailed, match=r"'one', 'two'.*none is surely ours"):
        server.create_snapshot("c")


def test_without_telemetry_a_lost_creation_is_looked_for_as_long_as_silence_may_last(qdrant, server, clock):
    new = described("new")
    qdrant.on(f"GET {SNAPSHOTS}", *[Reply.result([])] * 10, Reply.result([new]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply(vanish=True))
    qdrant.on("GET /telemetry", Reply.error(403, "Forbidden"))
    assert server.create_snapshot("c").name == "new"
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([]))
    with pytest.raises(CollectionFailed, match="none appeared"):
        server.create_snapshot("c")


def test_a_refused_creation_is_not_repeated(qdrant, server):
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([]))
    qdrant.on(f"POST {SNAPSHOTS}", Reply.error(500, "No space left on device"))
    with pytest.raises(ServerRefused, match="No space left"):
        server.create_snapshot("c")
    assert len(qdrant.asked(f"POST {SNAPSHOTS}")) == 1


def test_a_snapshot_that_is_gone_already_counts_as_deleted(qdrant, server):
    assert server.delete_snapshot("c", "gone") is True
    qdrant.on(f"DELETE {SNAPSHOTS}/there", Reply.result(True))
    assert server.delete_snapshot("c", "there") is True
    qdrant.on(f"DELETE {SNAPSHOTS}/stays", Reply.result(False))
    assert server.delete_snapshot("c", "stays") is False


def test_a_deletion_whose_answer_was_lost_is_looked_up(qdrant, through, relay):
    qdrant.on(f"DELETE {SNAPSHOTS}/mine", Reply.result(True))
    qdrant.on(f"GET {SNAPSHOTS}", Reply.result([described("other")]), Reply.result([described("mine")]))
    relay.rules.append(Rule("DELETE *", DropReply(), 2))
    assert through.delete_snapshot("c", "mine") is True
    with pytest.raises(Unanswered):
        through.delete_snapshot("c", "mine")
    assert len(qdrant.asked(f"DELETE {SNAPSHOTS}/mine")) == 2


# Rights


PROBE = f"DELETE {SNAPSHOTS}/qdrant-backup-probe-of-a-snapshot-that-cannot-exist.snapshot"
UPLOAD = "POST /collections/c/snapshots/upload"
ALIASES = "POST /collections/aliases"
INFO = {"status": "green", "points_count": 0, "config": {}, "payload_schema": {}}


def allow_everything(qdrant):
    qdrant.on("GET /collections", Reply.result({"collections": [{"name": "c"}]}))
    qdrant.on("GET /collections/c", Reply.result(INFO))
    qdrant.on(PROBE, Reply.error(404, "Not found: Snapshot"))
    qdrant.on(UPLOAD, Reply(400, b"Could not find Content-Type header"))
    qdrant.on(ALIASES, Reply.result(True))


def test_a_key_that_may_everything_passes_every_probe(qdrant, server):
    allow_everything(qdrant)
    server.probe(["c"], NEEDS)
    server.probe([], NEEDS)
    assert json.loads(qdrant.asked(ALIASES)[0].body) == {"actions": []}
    assert qdrant.asked(UPLOAD)[0].body == b""


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("route", "right"),
    [
        ("GET /collections", "read"),
        ("GET /collections/c", "read"),
        (PROBE, r"snapshot \(rw on this collection\)"),
        (UPLOAD, r"restore \(manage\)"),
        (ALIASES, r"aliases \(manage\)"),
    ],
)
@pytest.mark.fault("Q01")
def test_each_missing_right_is_named_before_anything_begins(qdrant, server, route, right, status):
    allow_everything(qdrant)
    qdrant.on(route, Reply.error(status, "Forbidden"))
    with pytest.raises(AccessDenied, match=right):
        server.probe(["c"], NEEDS)


def test_only_what_is_needed_is_probed(qdrant, server):
    allow_everything(qdrant)
    qdrant.on(UPLOAD, Reply.error(403, "Forbidden"))
    server.probe(["c"], ["read", "snapshot"])
    assert not qdrant.asked(UPLOAD)
