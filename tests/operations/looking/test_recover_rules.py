"""What a recovery writes, what it leaves alone, what it refuses, and what happens when it is killed half-way."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.digest import record_of
from qdrant_backup.errors import (
    CollectionFailed,
    CollectionMissing,
    ConnectionFailed,
    Incompatible,
    IntegrityFailed,
    NotUndoable,
    OperationFailed,
    QdrantBackupError,
    RefusedForSafety,
    UsageError,
)
from qdrant_backup.operations.looking.recover import Recovery
from qdrant_backup.operations.looking.recover_values import (
    KEEP_NEWER,
    OVERWRITE,
    RecoverPlan,
    RecoverRequest,
    chosen_in,
)
from qdrant_backup.operations.looking.search import Question
from qdrant_backup.operations.looking.sides import Sides
from qdrant_backup.operations.mending import carry_out
from qdrant_backup.operations.mending.carry_out import BATCH_BYTES, batches
from qdrant_backup.operations.mending.points import (
    content_of_record,
    content_of_writable,
    exact_point,
    state_of,
    unwritable,
)
from qdrant_backup.storage.points_file import Mend
from support.restoring import Lab, named_config, path_of, points_of
from support.servers import RunningServer
from support.worlds import lab_at

NAME = "discussions"
WORDS = {"indices": [9, 2], "values": [0.5, 0.1]}


@pytest.fixture
def lab(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    return lab_at(embedded_server, tmp_path)


def recover(lab: Lab, **options: Any) -> RecoverPlan:
    with (
        Sides(lab.ports) as sides,
        Recovery(lab.ports, sides.backup(lab.ports.directory.find("latest")), RecoverRequest(**options)) as recovery,
    ):
        plan = recovery.plan()
        recovery.carry_out(plan)
    return plan


def counted(plan: RecoverPlan, name: str = NAME) -> tuple[int, int, int]:
    chosen = plan.collections[name]
    return chosen.added, chosen.overwritten, chosen.kept


def payload(lab: Lab, point_id: int, **fields: Any) -> None:
    lab.call("POST", path_of(NAME, "points/payload?wait=true"), {"payload": fields, "points": [point_id]})


def read(lab: Lab, point_id: int, name: str = NAME) -> dict[str, Any]:
    return lab.call("GET", path_of(name, f"points/{point_id}"))["payload"]


def drop(lab: Lab, *ids: int) -> None:
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": list(ids)})


def test_each_policy_keeps_or_overwrites_as_it_says(lab: Lab) -> None:
    lab.make(NAME, points_of(12))
    lab.back_up()
    drop(lab, 1)
    payload(lab, 3, rank=1, text="older")
    payload(lab, 5, rank=100)
    payload(lab, 7, text="the same rank")

    assert counted(recover(lab, ids=(1, 3, 5, 7, 9))) == (1, 0, 4)
    assert read(lab, 3)["text"] == "older"
    assert counted(recover(lab, ids=(3, 5, 7, 9), policy=KEEP_NEWER, newer_field="rank")) == (0, 1, 3)
    assert (read(lab, 3)["rank"], read(lab, 5)["rank"], read(lab, 7)["text"]) == (3, 100, "the same rank")
    assert counted(recover(lab, filters={"must": [{"key": "rank", "range": {"gte": 7}}]}, policy=OVERWRITE)) == (
        0,
        1,
        4,
    )
    assert read(lab, 7)["text"] == "memory 7 of 1"
    assert counted(recover(lab, ids=(5,), policy=OVERWRITE, set_fields={"recovered": True})) == (0, 1, 0)
    assert read(lab, 5) == {"text": "memory 5 of 1", "group": "g2", "rank": 5, "part": {"x": 0.5}, "recovered": True}


def test_points_can_go_into_another_collection_of_the_same_vectors(lab: Lab) -> None:
    lab.make(NAME, points_of(5))
    lab.make("copy", [])
    lab.make("narrow", [], {"vectors": {"size": 3, "distance": "Dot"}})
    lab.back_up(NAME)

    assert counted(recover(lab, ids=(1, 3), rename={NAME: "copy"}), "copy") == (2, 0, 0)
    assert set(lab.content("copy")) == {"1", "3"}
    with pytest.raises(Incompatible, match=r"do not fit into 'narrow'.*size: 4 in the backup, 3 on the server"):
        recover(lab, ids=(1,), rename={NAME: "narrow"})
    with pytest.raises(CollectionMissing):
        recover(lab, ids=(1,), rename={NAME: "nowhere"})
    assert lab.content("narrow") == {}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ids": (1, 999)}, OperationFailed),
        ({"collections": ("nowhere",), "deleted": True}, CollectionMissing),
        ({"wanted": {NAME: [999]}}, OperationFailed),
        ({"wanted": {"nowhere": [1]}}, CollectionMissing),
        ({"wanted": {NAME: ["no id"]}}, UsageError),
    ],
)
def test_what_is_not_in_the_backup_is_refused_and_nothing_changes(
    lab: Lab, options: dict[str, Any], error: type[QdrantBackupError]
) -> None:
    lab.make(NAME, points_of(4))
    lab.back_up()
    drop(lab, 1)
    before = lab.content(NAME)

    with pytest.raises(error) as caught:
        recover(lab, **options)

    assert caught.value.why
    assert caught.value.advice
    assert lab.content(NAME) == before
    assert lab.journal() is None
    assert not list(lab.root.glob(".undo/*"))


def test_undo_refuses_to_take_newer_changes_back_unless_forced(lab: Lab) -> None:
    lab.make(NAME, points_of(6))
    lab.back_up()
    drop(lab, 1)
    payload(lab, 3, rank=50)
    before = lab.content(NAME)
    recover(lab, ids=(1, 3), policy=OVERWRITE)
    payload(lab, 3, rank=77)
    now = lab.content(NAME)

    with pytest.raises(RefusedForSafety, match="point 3 of discussions changed"):
        lab.undo()
    assert lab.content(NAME) == now

    lab.undo(force_changes=True)
    assert lab.content(NAME) == before
    with pytest.raises(NotUndoable):
        lab.undo()


def interrupted(lab: Lab, after: int, error: Exception | None = None) -> Callable[..., Any]:
    """Lets so many writes through, then the connection is gone for good."""
    real, count = lab.server.upsert, iter(range(10_000))

    def upsert(*given: Any) -> None:
        if next(count) >= after:
            raise error or ConnectionFailed("the server is gone", why="as the test wants it")
        real(*given)

    return upsert


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdrant_backup.operations.mending.carry_out.BATCH_POINTS", 2)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.fault("Q09")
def test_a_recovery_that_fails_half_way_puts_everything_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.make(NAME, points_of(12))
    lab.back_up()
    drop(lab, 1, 3, 5, 7, 9)
    before = lab.content(NAME)

    with monkeypatch.context() as patch:
        patch.setattr(lab.server, "upsert", interrupted(lab, 2))
        with pytest.raises(ConnectionFailed):
            recover(lab, deleted=True)

    assert lab.content(NAME) == before
    assert lab.journal() is None
    assert not list(lab.root.glob(".undo/*"))


def after_a_loss(lab: Lab) -> Any:
    """What the server holds once four of twelve points are gone that a backup has."""
    lab.make(NAME, points_of(12))
    lab.back_up()
    drop(lab, 1, 3, 5, 7)
    return lab.content(NAME)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.fault("Q09")
def test_what_is_being_written_when_a_recovery_fails_is_put_back_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = after_a_loss(lab)
    real, begun, failing, written = lab.server.upsert, threading.Event(), threading.Event(), threading.Event()

    def upsert(name: Any, points: Any) -> None:
        if b'"id":1,' in bytes(points[0]):
            assert begun.wait(60)
            failing.set()
            raise ConnectionFailed("the server is gone", why="as the test wants it")
        begun.set()
        assert failing.wait(60)
        time.sleep(0.3)  # By now everything would have been put back, if nobody waited for this.
        real(name, points)
        written.set()

    with monkeypatch.context() as patch:
        patch.setattr(lab.server, "upsert", upsert)
        with pytest.raises(ConnectionFailed):
            recover(lab, deleted=True)

    assert written.is_set()
    assert lab.content(NAME) == before


@pytest.mark.usefixtures("small_batches")
def test_a_recovery_that_ends_by_an_error_of_ours_is_put_back_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = after_a_loss(lab)
    begin, begun = carry_out.aside, itertools.count()

    def aside(work: Any, name: str) -> Any:
        if next(begun) == 1:
            raise RuntimeError("release unlocked lock")
        return begin(work, name)

    with monkeypatch.context() as patch:
        patch.setattr(carry_out, "aside", aside)
        with pytest.raises(RuntimeError, match="unlocked"):
            recover(lab, deleted=True)

    assert next(begun) == 2
    assert lab.content(NAME) == before
    assert lab.journal() is None


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("way", ["resume", "undo"])
@pytest.mark.fault("Q09")
def test_a_recovery_that_was_killed_is_finished_or_taken_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    lab.make(NAME, points_of(12))
    lab.back_up()
    whole = lab.content(NAME)
    drop(lab, 1, 3, 5, 7)
    payload(lab, 9, rank=50)
    before = lab.content(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(lab.server, "upsert", interrupted(lab, 2))
        patch.setattr(lab.server, "delete_points", interrupted(lab, 0))
        with pytest.raises(CollectionFailed, match="could not be taken back"):
            recover(lab, ids=(1, 3, 5, 7, 9), policy=OVERWRITE)
    assert lab.content(NAME) not in (before, whole)

    with pytest.raises(RefusedForSafety, match="has not ended"):
        recover(lab, deleted=True)
    with pytest.raises(RefusedForSafety, match="has not ended"):
        lab.back_up()

    if way == "undo":
        lab.undo()
        assert lab.content(NAME) == before
        assert not list(lab.root.glob(".undo/*"))
    else:
        lab.resume()
        assert lab.content(NAME) == whole
        lab.undo()
        assert lab.content(NAME) == before
    assert lab.journal() is None


def test_what_somebody_else_wrote_meanwhile_stays(lab: Lab) -> None:
    lab.make(NAME, points_of(6))
    lab.back_up()
    drop(lab, 1, 3)
    with (
        Sides(lab.ports) as sides,
        Recovery(lab.ports, sides.backup(lab.ports.directory.find("latest")), RecoverRequest(deleted=True)) as recovery,
    ):
        plan = recovery.plan()
        lab.put(NAME, [{"id": 3, "vector": [1, 0, 0, 0], "payload": {"text": "quicker"}}])
        done = recovery.carry_out(plan)

    assert done.kept == ((NAME, 3),)
    assert done.written == {NAME: 1}
    assert read(lab, 3) == {"text": "quicker"}
    assert "point 3 of discussions changed meanwhile" in lab.told.warnings


def test_a_damaged_points_file_is_never_worked_from(lab: Lab) -> None:
    lab.make(NAME, points_of(6))
    lab.back_up()
    payload(lab, 3, rank=50)
    recover(lab, ids=(3,), policy=OVERWRITE)
    [file] = lab.root.glob(".undo/points-*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"50", b"51"))
    now = lab.content(NAME)

    with pytest.raises(IntegrityFailed, match="is damaged"):
        lab.undo()
    assert lab.content(NAME) == now


def test_named_sparse_and_multivectors_come_back_bit_for_bit(lab: Lab) -> None:
    lab.make(NAME, points_of(20, named=True), named_config())
    before = lab.back_up()
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"filter": {}})

    assert counted(recover(lab, deleted=True)) == (20, 0, 0)

    assert lab.back_up().manifest.collections[NAME].content == before.manifest.collections[NAME].content


def test_a_batch_stays_below_the_servers_limit_on_a_body() -> None:
    def mend(collection: str, number: int, payload: dict[str, Any]) -> Mend:
        return Mend(collection, number, None, state_of({"id": number, "vector": [], "payload": payload}, b"content"))

    def mends() -> Iterator[Mend]:
        for number in range(40):
            yield mend("a", number, {"text": "x" * (BATCH_BYTES // 10)})
        yield mend("b", 1, {"text": "x" * 2 * BATCH_BYTES})
        yield from (mend("b", number, {}) for number in range(2, 600))

    found = list(batches(mends()))

    assert [mend for batch in found for mend in batch] == list(mends())
    assert all(len({mend.collection for mend in batch}) == 1 for batch in found)
    assert [len(batch) for batch in found][:5] == [9, 9, 9, 9, 4]
    assert max(map(len, found)) <= 256


@pytest.mark.parametrize(
    "vector",
    [[1.0, None], {"text": [1.0], "late": [[0.5], [float("nan")]]}, {"words": {"indices": [1], "values": [None]}}],
)
def test_a_vector_that_no_server_takes_is_named(vector: Any) -> None:
    assert "vector" in unwritable({"id": 1, "vector": vector})
    assert not unwritable({"id": 1, "vector": [1.0, 2]})
    assert not unwritable({"id": 1, "vector": {}})


def test_float32_values_are_written_as_decimals_that_come_back_bit_for_bit() -> None:
    shown = [0.1, 1e-45, 3.4028235e38, 0.33333334, -0.0]
    [value, *_] = written = exact_point({"id": 1, "vector": shown})["vector"]

    assert value == 0.10000000149011612
    assert json.loads(json.dumps(written)) == written
    assert exact_point({"id": 1, "vector": written})["vector"] == written


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"collections": []}',
        b'{"collections": {"a": {"added": 1}}}',
        b'{"collections": {"a": {"cut": true, "points": []}}}',
        b'{"hits": {"a": 1}}',
        b'{"hits": [{"id": 1}]}',
        b'{"hits": [{"collection": "a", "id": null}]}',
        b'{"hits": [{"collection": 1, "id": 1}]}',
    ],
)
def test_what_is_no_whole_diff_and_no_search_is_refused(text: bytes) -> None:
    with pytest.raises(UsageError):
        chosen_in(text)


def test_what_a_search_finds_comes_back(lab: Lab) -> None:
    lab.make(NAME, points_of(12))
    lab.make("more", points_of(12, seed=2))
    lab.back_up()
    drop(lab, 1, 3, 5, 7)
    memory = Question(words="memory 7 of 1", limit=1)

    assert counted(recover(lab, question=memory)) == (1, 0, 0)
    assert read(lab, 7)["text"] == "memory 7 of 1"
    narrowed = Question(words="memory", condition={"must": [{"key": "rank", "range": {"gte": 5}}]}, limit=100)
    assert counted(recover(lab, question=narrowed, collections=(NAME,))) == (1, 0, 6)
    assert {"5", "7"} <= set(lab.content(NAME))
    assert not {"1", "3"} & set(lab.content(NAME))
    assert recover(lab, question=Question(words="nobody said this")).collections == {}


@pytest.mark.parametrize(
    "vectors", [{}, {"text": [1.0, 2.5]}, {"late": [[1.0], [0.25]], "words": WORDS}, {"null": [0.5]}]
)
def test_a_record_of_the_digest_says_what_the_numbers_of_a_point_would(vectors: dict[str, Any]) -> None:
    names, payload = sorted(["late", "null", "text", "words"]), {"text": "a memory"}
    record = record_of(7, {"text": "another payload"}, vectors, names)

    point = {"id": 7, "payload": payload, "vector": vectors}
    assert content_of_record(payload, record, names) == content_of_writable(point)


def test_points_without_vectors_and_vectors_named_null_come_back(lab: Lab) -> None:
    lab.make(NAME, [], {"vectors": {"null": {"size": 2, "distance": "Dot"}, "text": {"size": 2, "distance": "Dot"}}})
    vectors = [{}, {"null": [1.0, 0.5]}, {"null": [0.1, 0.2], "text": [0.3, 0.4]}]
    lab.put(NAME, [{"id": number, "vector": one, "payload": {}} for number, one in enumerate(vectors)])
    lab.back_up()
    before = lab.state(NAME)
    drop(lab, 0, 1, 2)

    assert counted(recover(lab, deleted=True)) == (3, 0, 0)
    assert lab.state(NAME) == before
    assert counted(recover(lab, filters={}, collections=(NAME,))) == (0, 0, 3)
