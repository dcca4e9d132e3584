"""What goes wrong while a backup is made: it ends whole or not at all, and leaves nothing on the server."""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qdrant_backup.clock import SystemClock
from qdrant_backup.digest import DigestReader
from qdrant_backup.errors import (
    AccessDenied,
    CollectionFailed,
    CollectionMissing,
    Incompatible,
    InsufficientSpace,
    IntegrityFailed,
    Locked,
    ServerRefused,
)
from qdrant_backup.model import CollectionInfo, CollectionName, ServerIdentity
from qdrant_backup.operations.backup import BackupRequest, Facts, backup, plan
from qdrant_backup.operations.capture import Found
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.events import CollectionSkipped, Note
from qdrant_backup.operations.ports import Ports
from qdrant_backup.operations.verify import verify
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.server import Server
from qdrant_backup.qdrant.target import Target
from qdrant_backup.secret import Secret
from qdrant_backup.storage.catalogue import Level
from qdrant_backup.storage.files import DurableFile
from qdrant_backup.storage.intents import IntentStore, SnapshotIntent
from qdrant_backup.storage.lock import DirectoryLock
from support.clocks import SleeplessClock
from support.relay import Answer, Close, DropReply, FlipByte, Relay, Reset, Rule
from support.restoring import Lab, path_of, points_of
from support.servers import API_KEY, RunningServer
from support.worlds import content_by_client, small_world

Relaying = Callable[[RunningServer], Relay]
DOWNLOAD = "GET /collections/*/snapshots/*.snapshot"
CREATE = "POST /collections/*/snapshots*"
DELETE = "DELETE /collections/*/snapshots/*-20*.snapshot*"


def through(lab: Lab, relay: Relay, silence_s: float = 60.0) -> Ports:
    """The lab's ports, with the relay between; where an answer is lost, pauses count, so they are as users have them."""
    target = Target.parse(relay.url, api_key=Secret(API_KEY))
    server = Server(Http(dataclasses.replace(target, silence_s=silence_s), clock=SystemClock()))
    return dataclasses.replace(lab.ports, server=server)


def hidden(root: Path) -> list[str]:
    """What should not be in a backup directory between runs."""
    names = [path.name for path in root.iterdir() if path.name.startswith(".")] if root.exists() else []
    left = [name for name in names if name not in {".lock", ".catalogue.json", ".intents"}]
    return left + [path.name for path in root.glob(".intents/*")]


def nothing_was_made(lab: Lab) -> None:
    assert lab.ports.directory.survey().backups == ()
    assert hidden(lab.root) == []
    assert lab.left_on_server() == []


def test_a_download_that_is_cut_again_and_again_is_resumed(lab: Lab, relay_to: Relaying) -> None:
    small_world(lab)
    relay = relay_to(lab.running)
    relay.rules += [Rule(DOWNLOAD, Reset(after=0)), Rule(DOWNLOAD, Close(after=1)), Rule(DOWNLOAD, Reset(after=20_000))]
    made = backup(BackupRequest(with_config=False), through(lab, relay)).backup
    relay.assert_all_fired()
    assert verify(made, Level.CONTENT, lab.ports).passed
    assert lab.left_on_server() == []


def test_one_flipped_byte_is_fetched_again(lab: Lab, relay_to: Relaying) -> None:
    small_world(lab)
    relay = relay_to(lab.running)
    relay.rules.append(Rule(DOWNLOAD, FlipByte(at=5_000)))
    made = backup(BackupRequest(with_config=False), through(lab, relay)).backup
    relay.assert_all_fired()
    assert verify(made, Level.CONTENT, lab.ports).passed
    for name, entry in made.manifest.collections.items():
        assert (entry.records, entry.content) == content_by_client(lab.running, name, entry.vector_names)
    assert lab.told.of(Note)


def test_bytes_that_are_flipped_every_time_are_refused(lab: Lab, relay_to: Relaying) -> None:
    lab.make("docs", points_of(10))
    relay = relay_to(lab.running)
    relay.rules.append(Rule(DOWNLOAD, FlipByte(at=5_000), times=2))
    with pytest.raises(IntegrityFailed, match="docs"):
        backup(BackupRequest(with_config=False), through(lab, relay))
    relay.assert_all_fired()
    nothing_was_made(lab)


def test_a_creation_whose_answer_is_lost_is_adopted(lab: Lab, relay_to: Relaying) -> None:
    lab.make("docs", points_of(10))
    lab.call("POST", path_of("docs", "snapshots"))
    relay = relay_to(lab.running)
    relay.rules.append(Rule("POST /collections/docs/snapshots?wait=true", DropReply()))
    (mine,) = lab.left_on_server()
    made = backup(BackupRequest(with_config=False), through(lab, relay)).backup
    relay.assert_all_fired()
    assert made.manifest.records == 10
    assert len([line for line in relay.seen if line.startswith("POST") and "/snapshots" in line]) == 1
    assert lab.left_on_server() == [mine]
    assert hidden(lab.root) == []


@pytest.mark.fault("Q02")
def test_a_creation_that_fails_fails_the_backup_and_names_the_collection(embedded: Lab) -> None:
    small_world(embedded)
    embedded.running.script({"match": "POST /collections/conventions/snapshots", "action": "status", "code": 500})
    with pytest.raises(ServerRefused, match="conventions") as failure:
        embedded.back_up()
    assert "scripted fault" in str(failure.value)
    nothing_was_made(embedded)


@pytest.mark.fault("Q18")
def test_a_snapshot_that_cannot_be_deleted_is_named_and_gone_after_the_next_run(
    embedded: Lab, relay_to: Relaying
) -> None:
    embedded.make("docs", points_of(10))
    relay = relay_to(embedded.running)
    relay.rules.append(Rule(DELETE, Answer(500, b'{"status":{"error":"no"},"time":0}'), times=9))
    ports = through(embedded, relay)
    made = backup(BackupRequest(with_config=False), ports).backup
    assert made.manifest.records == 10
    assert "stays on the server" in embedded.told.warnings
    assert len(embedded.left_on_server()) == 1
    assert embedded.left_on_server()[0] in embedded.told.warnings
    relay.rules.clear()
    backup(BackupRequest(with_config=False), ports)
    assert embedded.left_on_server() == []
    assert hidden(embedded.root) == []


@pytest.mark.fault("Q15")
def test_a_collection_that_vanishes_is_skipped_and_said_so(embedded: Lab) -> None:
    small_world(embedded)
    embedded.alias("a", "conventions")

    def vanish(real: Callable[..., Any], name: CollectionName) -> Any:
        if name == "conventions":
            embedded.delete("conventions")
        return real(name)

    embedded.server.hooks["create_snapshot"] = vanish
    made = embedded.back_up()
    assert list(made.manifest.collections) == ["discussions", "code-patterns"]
    assert made.manifest.aliases == {}
    assert [skip.what for skip in made.manifest.skipped] == ["collection conventions"]
    assert "conventions" in made.manifest.warnings[0]
    assert [event.name for event in embedded.told.of(CollectionSkipped)] == ["conventions"]
    assert verify(made, Level.CONTENT, embedded.ports).passed


@pytest.mark.fault("Q15")
def test_a_named_collection_that_vanishes_fails_the_backup(embedded: Lab) -> None:
    small_world(embedded)

    def vanish(real: Callable[..., Any], name: CollectionName) -> Any:
        embedded.delete("conventions")
        return real(name)

    embedded.server.hooks["create_snapshot"] = vanish
    with pytest.raises(CollectionMissing, match="conventions"):
        embedded.back_up("conventions")
    nothing_was_made(embedded)


@pytest.mark.fault("Q03")
def test_a_snapshot_without_all_shards_is_refused(embedded: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.make("docs", points_of(10))
    (replica,) = embedded.server.replicas(CollectionName("docs"))
    both = (replica, msgspec.structs.replace(replica, shard_id=1))
    monkeypatch.setattr(embedded.server, "replicas", lambda _: both)
    with pytest.raises(IntegrityFailed, match="1 of 2 shards"):
        embedded.back_up()
    nothing_was_made(embedded)


@pytest.mark.fault("Q04")
def test_one_of_several_peers_is_refused(embedded: Lab, relay_to: Relaying) -> None:
    embedded.make("docs", points_of(3))
    relay = relay_to(embedded.running)
    peers = {str(number): {"uri": f"http://node-{number}:6335/"} for number in (1, 2)}
    body = {"result": {"status": "enabled", "peer_id": 1, "peers": peers}, "status": "ok", "time": 0}
    relay.rules.append(Rule("GET /cluster*", Answer(200, json.dumps(body).encode()), times=9))
    with pytest.raises(Incompatible, match=r"peers|nodes|cluster"):
        backup(BackupRequest(with_config=False), through(embedded, relay))
    nothing_was_made(embedded)


def test_streaming_gives_the_same_content_and_asks_the_server_for_no_snapshot(lab: Lab, relay_to: Relaying) -> None:
    lab.make(
        "docs", points_of(40), {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}, {"group": "keyword"}
    )
    relay = relay_to(lab.running)
    made = backup(BackupRequest(method="stream", with_config=False), through(lab, relay)).backup
    (entry,) = made.manifest.collections.values()
    assert entry.method == "stream"
    assert (entry.records, entry.content) == content_by_client(lab.running, "docs", entry.vector_names)
    assert not [line for line in relay.seen if line.startswith("POST") and line.endswith("/snapshots?wait=true")]
    assert verify(made, Level.CONTENT, lab.ports).passed


def test_a_composed_archive_restores_by_hand_into_an_empty_server(lab: Lab) -> None:
    config = {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2, "hnsw_config": {"m": 8}}
    lab.make("docs", points_of(40), config, {"group": {"type": "keyword", "is_tenant": True}})
    before = lab.state("docs")
    made = backup(BackupRequest(method="stream", with_config=False), lab.ports).backup
    lab.delete("docs")
    archive = (made.path / "qdrant" / "docs.snapshot").read_bytes()
    status, answer = lab.running.upload(path_of("docs", "snapshots", "upload?wait=true&priority=snapshot"), archive)
    assert status == 200, answer
    assert lab.state("docs") == before


@pytest.mark.fault("Q02")
def test_auto_streams_where_the_server_has_no_room(embedded: Lab) -> None:
    small_world(embedded)
    full = {"action": "status", "code": 500, "body": "Service internal error: No space left on device (os error 28)"}
    embedded.running.script({"match": "POST /collections/conventions/snapshots", **full})
    made = embedded.back_up()
    methods = {name: entry.method for name, entry in made.manifest.collections.items()}
    assert methods == {"discussions": "snapshot", "conventions": "stream", "code-patterns": "snapshot"}
    assert any("no room" in note.text for note in embedded.told.of(Note))
    assert verify(made, Level.CONTENT, embedded.ports).passed
    assert embedded.left_on_server() == []
    assert hidden(embedded.root) == []


@pytest.mark.fault("Q02")
def test_method_snapshot_fails_where_the_server_has_no_room(embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    full = {"action": "status", "code": 500, "body": "No space left on device (os error 28)"}
    embedded.running.script({"match": "POST /collections/docs/snapshots", **full})
    with pytest.raises(ServerRefused, match="No space left"):
        backup(BackupRequest(method="snapshot", with_config=False), embedded.ports)
    nothing_was_made(embedded)


@pytest.mark.fault("Q03")
def test_a_stream_that_ends_early_as_if_it_were_whole_is_refused(embedded: Lab) -> None:
    embedded.make("docs", points_of(40))
    cut = {"match": "GET /collections/docs/shards/0/snapshot", "action": "cut", "bytes": 30_000, "clean": True}
    embedded.running.script({**cut, "times": None})
    with pytest.raises((IntegrityFailed, CollectionFailed)):
        backup(BackupRequest(method="stream", with_config=False), embedded.ports)
    nothing_was_made(embedded)


@pytest.mark.fault("Q15")
def test_while_somebody_writes_the_digest_is_that_of_the_archive(lab: Lab) -> None:
    lab.make("docs", points_of(30))
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            lab.running.call(
                "PUT", path_of("docs", "points?wait=true"), {"points": points_of(5, seed=number, first=number)}
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [lab.back_up() for _ in range(3)]
    finally:
        ended.set()
        writer.join()
    for each in made:
        (entry,) = each.manifest.collections.values()
        verdict = verify(each, Level.CONTENT, lab.ports)
        assert verdict.passed, verdict
        with each.open(entry.digest_file) as stream:
            reader = DigestReader(stream)
            assert len(list(reader.records())) == entry.records
            assert reader.summary.content == entry.content


def test_a_second_run_is_locked_out(embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    embedded.back_up()
    with DirectoryLock(embedded.root, embedded.clock, "backup"), pytest.raises(Locked):
        embedded.back_up()
    assert len(embedded.ports.directory.entries()) == 1
    assert embedded.left_on_server() == []


@pytest.mark.fault("Q18")
def test_only_the_snapshot_of_a_killed_run_is_removed(lab: Lab) -> None:
    lab.make("docs", points_of(10))
    users = lab.call("POST", path_of("docs", "snapshots"))["name"]
    lab.root.mkdir()
    intent = SnapshotIntent(
        server_url=lab.running.url,
        collection=CollectionName("docs"),
        existing=(users,),
        begun_at=lab.clock.now(),
    )
    store = IntentStore(lab.root)
    file = store.record(intent)
    # Names have the second they were made in; what a killed run made must not share it with the user's.
    ours = users
    while ours == users:
        ours = lab.call("POST", path_of("docs", "snapshots"))["name"]
    store.answered(file, ours)
    lab.back_up()
    assert lab.left_on_server() == [users]
    assert hidden(lab.root) == []


@pytest.mark.fault("Q18")
def test_where_it_is_in_doubt_whose_a_snapshot_is_none_is_removed(embedded: Lab) -> None:
    embedded.make("docs", points_of(10))
    embedded.root.mkdir()
    intent = SnapshotIntent(
        server_url=embedded.running.url, collection=CollectionName("docs"), existing=(), begun_at=embedded.clock.now()
    )
    IntentStore(embedded.root).record(intent)
    made: set[str] = set()
    while len(made) < 2:
        made.add(embedded.call("POST", path_of("docs", "snapshots"))["name"])
    embedded.back_up()
    assert set(embedded.left_on_server()) == made
    assert all(name in embedded.told.warnings for name in made)
    assert hidden(embedded.root) == []


@pytest.mark.fault("Q18")
def test_what_the_server_still_makes_for_a_killed_run_is_awaited_and_removed(
    embedded: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would appear later; and stay for ever where the collection is dropped meanwhile, as `undo` does."""
    embedded.make("docs", points_of(10))
    embedded.root.mkdir()
    intent = SnapshotIntent(
        server_url=embedded.running.url, collection=CollectionName("docs"), existing=(), begun_at=embedded.clock.now()
    )
    IntentStore(embedded.root).record(intent)
    # On its way to the server, then at work, then listed.
    looks = iter([0, 1, 1])

    def running(_: str) -> int:
        found = next(looks, None)
        if found is None:
            embedded.call("POST", path_of("docs", "snapshots"))
        return found or 0

    monkeypatch.setattr(embedded.server, "snapshots_running", running)
    remove_left_behind(embedded.ports)
    assert next(looks, None) is None
    assert embedded.left_on_server() == []
    assert hidden(embedded.root) == []


@pytest.mark.fault("Q18")
@pytest.mark.parametrize(("age", "stays"), [(timedelta(minutes=5), 1), (timedelta(days=2), 0)])
def test_a_key_that_may_not_see_whether_one_is_made_keeps_the_note_for_a_day(
    embedded: Lab, monkeypatch: pytest.MonkeyPatch, age: timedelta, stays: int
) -> None:
    def denied(_: str) -> int:
        raise AccessDenied("telemetry is not allowed")

    embedded.make("docs", points_of(10))
    embedded.root.mkdir()
    begun_at = embedded.clock.now() - age
    store = IntentStore(embedded.root)
    intent = SnapshotIntent(
        server_url=embedded.running.url, collection=CollectionName("docs"), existing=(), begun_at=begun_at
    )
    store.record(intent)
    monkeypatch.setattr(embedded.server, "snapshots_running", denied)
    remove_left_behind(dataclasses.replace(embedded.ports, clock=SleeplessClock()))
    assert len(store.pending()) == stays
    assert ("may still make a snapshot" in embedded.told.warnings) == bool(stays)


def test_wrecks_of_killed_runs_are_swept_and_other_things_left_alone(embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    wreck = embedded.root / ".2026-01-01_000000.partial"
    (wreck / "qdrant").mkdir(parents=True)
    (wreck / "qdrant" / "docs.snapshot").write_bytes(b"half")
    users = embedded.root / "2026-01-01_notes"
    users.mkdir()
    embedded.back_up()
    assert not wreck.exists()
    assert users.exists()


def test_what_the_engine_cannot_open_is_kept_and_called_unverified(
    embedded: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_backup.engine.engine import DigestSink
    from qdrant_backup.errors import ContentUnreadable

    def refuse(_: DigestSink) -> Any:
        raise ContentUnreadable("the engine cannot open it", why="too new a format")

    embedded.make("docs", points_of(12))
    monkeypatch.setattr(DigestSink, "finish", refuse)
    made = embedded.back_up()
    (entry,) = made.manifest.collections.values()
    assert (entry.records, entry.points, entry.content, entry.digest_file) == (12, None, "", "")
    assert "too new a format" in entry.unverified
    assert "docs: content unverified" in made.manifest.warnings[0]
    assert not (made.path / "digest" / "docs.digest").exists()
    monkeypatch.undo()
    assert verify(made, Level.CONTENT, embedded.ports).passed


def test_a_full_disk_here_leaves_no_snapshot_there(embedded: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise InsufficientSpace("the disk is full", why="No space left on device")

    small_world(embedded)
    monkeypatch.setattr(DurableFile, "write", full)
    monkeypatch.setattr(IntentStore, "answered", full)
    with pytest.raises(InsufficientSpace):
        embedded.back_up()
    nothing_was_made(embedded)


def _facts(free_bytes: int, last: dict[str, int], *estimates: tuple[str, int]) -> Facts:
    def found(name: str, size: int) -> Found:
        info = CollectionInfo(name=CollectionName(name), status="green", config={}, payload_schema={}, points_count=0)
        return Found(info, (), size)

    server = ServerIdentity("1.18.3")
    return Facts(server, tuple(found(*each) for each in estimates), {}, last, free_bytes)


def test_twice_the_larger_of_estimate_and_last_backup_must_be_free() -> None:
    last = {"a": 100, "b": 10, "gone": 10_000}
    assert plan(_facts(400, last, ("a", 50), ("b", 100))).estimated_bytes == 200
    with pytest.raises(InsufficientSpace, match="too little"):
        plan(_facts(399, last, ("a", 50), ("b", 100)))


@pytest.mark.parametrize("seed", range(4))
def test_a_relay_that_resets_at_a_random_byte_of_any_answer_does_no_harm(
    embedded: Lab, relay_to: Relaying, seed: int
) -> None:
    dice = random.Random(seed)
    small_world(embedded, points=10)
    relay = relay_to(embedded.running)
    matches = ["GET /collections", "GET /collections/*/snapshots", DOWNLOAD, CREATE, DELETE]
    relay.rules += [Rule(match, Reset(after=dice.randrange(200))) for match in dice.sample(matches, 3)]
    made = backup(BackupRequest(with_config=False), through(embedded, relay)).backup
    assert verify(made, Level.CONTENT, embedded.ports).passed
    assert embedded.left_on_server() == []
