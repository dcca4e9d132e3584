"""Opened backups answer as the server they were made of, and opening changes nothing of them."""

from __future__ import annotations

import random
import struct
import warnings
from typing import Any

import pytest
from qdrant_client import QdrantClient

from qdrant_backup.errors import BackupInvalid, CollectionMissing, IntegrityFailed, OperationFailed, UsageError
from qdrant_backup.model import NO_PROGRESS
from qdrant_backup.operations.looking.filters import parse_filter
from qdrant_backup.operations.looking.opening import Address, OpenedBackups, open_backups
from qdrant_backup.operations.looking.reading import facet, points
from qdrant_backup.operations.looking.search import Question, search
from qdrant_backup.secret import Secret
from support.command import tree_of
from support.original_backup import original_backup  # noqa: F401 - a fixture
from support.restoring import Lab, named_config, points_of
from support.worlds import rich_world

KEY = Secret("key-of-the-readers")
FIXES = {
    1: {"content": "We fixed the auth race by locking the session", "type": "decision", "when": "2026-02-03T10:00:00Z"},
    2: {"content": "The cache races with the writer", "type": "error_pattern", "when": "2026-01-03T10:00:00Z"},
    3: {"content": "Deploying on Friday is fine", "type": "decision", "when": "2026-03-03T10:00:00Z"},
}


def fixes() -> list[dict[str, Any]]:
    return [{"id": number, "vector": [number, 0, 0, 1], "payload": payload} for number, payload in FIXES.items()]


def exact(value: Any) -> Any:
    """The same with every number that has a fraction as the float32 it stands for, bit by bit."""
    if isinstance(value, float):
        return struct.pack("<f", value)
    if isinstance(value, dict):
        return {key: exact(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(one) for one in value]
    return exact(value.model_dump()) if hasattr(value, "model_dump") else value


def small_rich_world(lab: Lab) -> None:
    """A collection with all kinds of vectors, and one with several shards."""
    lab.make("discussions", points_of(40, named=True), named_config(), {"group": "keyword", "rank": "integer"})
    lab.make("conventions", points_of(20, seed=2), {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 2})
    lab.alias("talk", "discussions")


def client_of(opened: OpenedBackups) -> QdrantClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return QdrantClient(
            url=f"http://127.0.0.1:{opened.port}", api_key=KEY.reveal(), timeout=60, check_compatibility=False
        )


def everything(client: QdrantClient, name: str) -> dict[Any, Any]:
    found, offset = {}, None
    while True:
        page, offset = client.scroll(name, limit=100, offset=offset, with_payload=True, with_vectors=True)
        found |= {point.id: (point.payload, point.vector) for point in page}
        if offset is None:
            return found


def test_the_stock_client_reads_all_of_a_served_backup_and_the_backup_stays_as_it_was(lab: Lab):
    rich_world(lab)
    live = lab.running.client()
    names = [one.name for one in live.get_collections().collections]
    expected = {name: everything(live, name) for name in [*names, "talk", "Räte"]}
    backup = lab.back_up()
    before = tree_of(backup.path)

    with open_backups(lab.ports, [(backup, None)], Address(KEY)) as opened:
        client = client_of(opened)
        served = {name: everything(client, name) for name in expected}
        configs = {name: client.get_collection(name).config.params for name in names}
        client.close()

    assert exact(served) == exact(expected)
    assert configs == {name: live.get_collection(name).config.params for name in names}
    assert tree_of(backup.path) == before
    live.close()


def test_a_backup_finds_what_the_server_finds(lab: Lab):
    small_rich_world(lab)
    backup = lab.back_up()
    dice = random.Random(5)
    condition = parse_filter("group in (g1, g2) and rank>=10")

    with open_backups(lab.ports, [(backup, ["discussions", "conventions"])]) as opened:
        for name, using in (("discussions", "text"), ("conventions", None)):
            for _ in range(3):
                vector = [dice.uniform(-1, 1) for _ in range(4)]
                body = {"query": vector, "limit": 7, "filter": condition, "params": {"exact": True}, "using": using}
                expected = lab.call("POST", f"/collections/{name}/points/query", body)["points"]
                one = [collection for collection in opened.collections if collection.name == name]
                alone = OpenedBackups(opened.server, tuple(one), opened.port, opened._opened)
                found = search(alone, Question(vector=vector, condition=condition, using=using, limit=7), NO_PROGRESS)
                assert [hit.id for hit in found] == [point["id"] for point in expected]
                assert [hit.score for hit in found] == pytest.approx([p["score"] for p in expected], abs=1e-5)


def test_points_are_those_of_the_server_bit_for_bit(lab: Lab):
    small_rich_world(lab)
    backup = lab.back_up()
    expected = lab.call(
        "POST", "/collections/discussions/points/scroll", {"limit": 1000, "with_payload": True, "with_vector": True}
    )["points"]

    with open_backups(lab.ports, [(backup, ["talk"])]) as opened:
        [collection] = opened.collections
        found = [point for page in points(opened, collection) for point in page]
        chosen = [found[3]["id"], found[1]["id"]]
        [page] = points(opened, collection, ids=chosen)

    assert collection.name == "discussions"
    assert exact(found) == exact([{key: point[key] for key in ("id", "payload", "vector")} for point in expected])
    assert [point["id"] for point in page] == chosen


def test_values_are_counted_with_and_without_an_index(lab: Lab):
    lab.make("discussions", points_of(9), indexes={"group": "keyword"})
    backup = lab.back_up()

    with open_backups(lab.ports, [(backup, None)]) as opened:
        [collection] = opened.collections
        assert sorted(facet(opened, collection, "group", limit=9)) == [("g0", 3), ("g1", 3), ("g2", 3)]
        assert facet(opened, collection, "part.x", limit=9) == [(0.5, 9)]
        assert facet(opened, collection, "rank", limit=2, condition=parse_filter("rank<1")) == [(0, 1)]
        assert facet(opened, collection, "nothing", limit=9) == []


def test_words_find_what_is_meant_and_the_index_is_made_once(embedded: Lab, monkeypatch: pytest.MonkeyPatch):
    embedded.make("discussions", fixes())
    backup = embedded.back_up()
    built: list[str] = []
    monkeypatch.setattr(NO_PROGRESS, "begin", lambda task, total: built.append(task), raising=False)

    for _ in range(2):
        with open_backups(embedded.ports, [(backup, None)]) as opened:
            found = search(opened, Question(words="how did we fix the auth race?"), NO_PROGRESS)
            assert [hit.id for hit in found][:2] == [1, 2]
            assert found[0].payload == FIXES[1]
            only = search(opened, Question(words="race friday", condition=parse_filter("type=decision")), NO_PROGRESS)
            assert {hit.id for hit in only} == {1, 3}

    assert [task for task in built if "words" in task] == ["Indexing the words of discussions"]


def test_a_filter_alone_gives_points_in_their_order(embedded: Lab):
    embedded.make("discussions", fixes())
    backup = embedded.back_up()

    with open_backups(embedded.ports, [(backup, None)]) as opened:
        for text, ids in (
            ("type=decision", [1, 3]),
            ("when>=2026-02-01", [1, 3]),
            ("type!=decision", [2]),
            ("type in (decision, session) and when<2026-03-01", [1]),
            ('content ~ "auth race"', [1]),
            ("missing=null", [1, 2, 3]),
        ):
            found = search(opened, Question(condition=parse_filter(text)), NO_PROGRESS)
            assert [hit.id for hit in found] == ids, text
            assert {hit.score for hit in found} == {None}


def test_likeness_and_fusion(embedded: Lab):
    embedded.make("discussions", fixes())
    embedded.make("other", points_of(3, first=50))
    backup = embedded.back_up()

    with open_backups(embedded.ports, [(backup, None)]) as opened:
        like = search(opened, Question(like=1), NO_PROGRESS)
        both = search(opened, Question(words="friday", vector=[1.0, 0.0, 0.0, 1.0], limit=3), NO_PROGRESS)
        with pytest.raises(OperationFailed, match="no point 999"):
            search(opened, Question(like=999), NO_PROGRESS)
        with pytest.raises(UsageError, match="does not fit") as refused:
            search(opened, Question(vector=[1.0, 2.0]), NO_PROGRESS)
        with pytest.raises(UsageError, match="no vector 'x'"):
            search(opened, Question(vector=[1.0] * 4, using="x"), NO_PROGRESS)

    assert [hit.id for hit in like] == [3, 2]
    assert both[0].id == 3
    assert both[0].score == pytest.approx(2 / 61)
    assert "have 4" in refused.value.why


def test_several_backups_have_their_collections_side_by_side(embedded: Lab):
    embedded.make("discussions", fixes())
    first = embedded.back_up()
    embedded.call("POST", "/collections/discussions/points/delete?wait=true", {"points": [1]})
    second = embedded.back_up()

    with open_backups(embedded.ports, [(first, None), (second, ["discussions"])]) as opened:
        names = [collection.name for collection in opened.collections]
        counts = [len(next(iter(opened.server.scroll(name)))) for name in names]

    assert names == [f"discussions@{first.backup_id}", f"discussions@{second.backup_id}"]
    assert counts == [3, 2]


def test_what_is_not_there_or_damaged_is_refused_by_name(embedded: Lab):
    embedded.make("discussions", fixes())
    backup = embedded.back_up()
    snapshot = backup.path / backup.manifest.collections["discussions"].snapshot
    whole = snapshot.read_bytes()

    with (
        pytest.raises(CollectionMissing, match="'nothing'"),
        open_backups(embedded.ports, [(backup, ["nothing"])]),
    ):
        pass
    snapshot.chmod(0o600)
    snapshot.write_bytes(whole[:-512] + b"x" * 512)
    with pytest.raises(IntegrityFailed, match=r"SHA-256|damaged"), open_backups(embedded.ports, [(backup, None)]):
        pass
    snapshot.write_bytes(whole[:-512])
    found = embedded.ports.directory.find("latest" if not snapshot.exists() else backup.backup_id)
    with pytest.raises(BackupInvalid, match="cannot be opened"), open_backups(embedded.ports, [(found, None)]):
        pass


def test_a_backup_of_the_original_scripts_opens_and_a_second_time_from_the_cache(
    embedded: Lab,
    original_backup,  # noqa: F811 - the fixture
):
    backup = embedded.ports.directory.find(str(original_backup.backup_dir))
    before = tree_of(original_backup.backups_dir)

    for _ in range(2):
        with open_backups(embedded.ports, [(backup, None)]) as opened:
            ids = {
                collection.name: {str(point["id"]) for page in points(opened, collection) for point in page}
                for collection in opened.collections
            }
        assert ids == {name: set(expected) for name, expected in original_backup.expected_points.items()}

    assert tree_of(original_backup.backups_dir) == before
