"""What the stock client does with collections, points and searches."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from qdrant_backup.engine.rest.serve import listening_on
from support.servers import NotStarted, RunningServer, start_embedded

UUIDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(10)]


def vector(seed: int, size: int = 8) -> list[float]:
    source = random.Random(seed)
    return [source.uniform(-1, 1) for _ in range(size)]


def filled(server: RunningServer, name: str = "memories", shards: int = 1, count: int = 60) -> Any:
    client = server.client()
    client.create_collection(
        name,
        vectors_config={
            "dense": m.VectorParams(size=8, distance=m.Distance.COSINE),
            "far": m.VectorParams(size=8, distance=m.Distance.EUCLID),
            "rows": m.VectorParams(
                size=4,
                distance=m.Distance.DOT,
                multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM),
            ),
        },
        sparse_vectors_config={"words": m.SparseVectorParams(modifier=m.Modifier.IDF)},
        shard_number=shards,
    )
    client.create_payload_index(
        name, "tag", m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=True), wait=True
    )
    client.create_payload_index(name, "n", "integer", wait=True)
    client.create_payload_index(name, "text", "text", wait=True)
    client.upsert(name, [point(number) for number in range(count)], wait=True)
    return client


def point(number: int) -> m.PointStruct:
    return m.PointStruct(
        id=UUIDS[number] if number < 10 else number,
        vector={
            "dense": vector(number),
            "far": vector(number),
            "rows": [vector(number, 4), vector(number + 1, 4)],
            "words": m.SparseVector(indices=[1, 100 + number], values=[0.5, 1.5]),
        },
        payload={"tag": f"t{number % 3}", "n": number, "text": f"the fox number {number}", "deep": {"list": [number]}},
    )


@pytest.fixture(params=[1, 3], ids=["one-shard", "three-shards"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Any:
    return filled(server, shards=request.param)


def test_every_point_is_counted_listed_and_found_by_id(client: Any) -> None:
    assert client.count("memories").count == 60
    listed, following = [], None
    while True:
        page, following = client.scroll("memories", limit=7, offset=following, with_vectors=True)
        listed += page
        if following is None:
            break
    ids = [record.id for record in listed]
    assert ids == [*range(10, 60), *UUIDS]
    assert client.retrieve("memories", [59, UUIDS[3], 777])[0].payload["n"] == 59
    assert listed[0].vector["rows"][0] == pytest.approx(vector(10, 4))


def test_filters_select(client: Any) -> None:
    def count(**conditions: Any) -> int:
        return client.count("memories", count_filter=m.Filter(**conditions)).count

    tag = m.FieldCondition(key="tag", match=m.MatchValue(value="t1"))
    low = m.FieldCondition(key="n", range=m.Range(gte=5, lt=20))
    assert count(must=[tag]) == 20
    assert count(must=[tag, low]) == 5
    assert count(must_not=[tag]) == 40
    assert count(should=[tag, low]) == 30
    assert count(must=[m.HasIdCondition(has_id=[UUIDS[0], 11, 999])]) == 2
    assert count(must=[m.FieldCondition(key="text", match=m.MatchText(text="fox 7"))]) == 1
    assert count(must=[m.FieldCondition(key="deep.list[]", match=m.MatchAny(any=[1, 2]))]) == 2
    assert count(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="none"))]) == 60
    assert count(min_should=m.MinShould(conditions=[tag, low], min_count=2)) == 5


def test_searches_find_the_nearest(client: Any) -> None:
    def first(**query: Any) -> Any:
        return client.query_points("memories", limit=3, **query).points[0].id

    assert first(query=vector(33), using="dense") == 33
    assert first(query=vector(34), using="far") == 34
    assert first(query=m.SparseVector(indices=[135], values=[1.0]), using="words") == 35
    assert first(query=[[10 * one for one in vector(36, 4)]], using="rows") in range(10, 60)
    found = client.query_points("memories", query=33, using="dense", limit=60).points
    assert 33 not in [one.id for one in found]
    assert len(found) == 59
    prefetch = [
        m.Prefetch(query=vector(40), using="dense", limit=5),
        m.Prefetch(query=m.SparseVector(indices=[140], values=[1.0]), using="words", limit=5),
    ]
    for fusion in (m.Fusion.RRF, m.Fusion.DBSF):
        assert first(prefetch=prefetch, query=m.FusionQuery(fusion=fusion)) == 40


def test_an_order_by_payload_goes_over_all_shards(client: Any) -> None:
    records, _ = client.scroll("memories", order_by=m.OrderBy(key="n", direction=m.Direction.DESC), limit=4)
    assert [record.payload["n"] for record in records] == [59, 58, 57, 56]


def test_facets_and_groups_count_over_all_shards(client: Any) -> None:
    hits = client.facet("memories", "tag").hits
    assert {hit.value: hit.count for hit in hits} == {"t0": 20, "t1": 20, "t2": 20}
    groups = client.query_points_groups(
        "memories", group_by="tag", query=vector(33), using="dense", limit=3, group_size=2
    ).groups
    assert {group.id for group in groups} == {"t0", "t1", "t2"}
    assert all(len(group.hits) == 2 for group in groups)
    assert groups[0].hits[0].id == 33


def test_changes_change_what_they_name_and_nothing_else(client: Any) -> None:
    by_tag = m.Filter(must=[m.FieldCondition(key="tag", match=m.MatchValue(value="t2"))])
    client.set_payload("memories", {"seen": True}, points=by_tag, wait=True)
    client.overwrite_payload("memories", {"n": -1}, points=[12], wait=True)
    client.delete_payload("memories", ["text"], points=[13], wait=True)
    client.clear_payload("memories", [15], wait=True)
    client.delete_vectors("memories", vectors=["words"], points=[16], wait=True)
    client.update_vectors("memories", [m.PointVectors(id=17, vector={"dense": vector(1234)})], wait=True)
    client.delete("memories", [18, UUIDS[0]], wait=True)
    seen = m.Filter(must=[m.FieldCondition(key="seen", match=m.MatchValue(value=True))])
    assert client.count("memories", count_filter=seen).count == 20
    found = {record.id: record for record in client.retrieve("memories", list(range(12, 19)), with_vectors=True)}
    assert found[12].payload == {"n": -1}
    assert "text" not in found[13].payload
    assert found[15].payload == {}
    assert set(found[16].vector) == {"dense", "far", "rows"}
    assert client.query_points("memories", query=vector(1234), using="dense", limit=1).points[0].id == 17
    assert 18 not in found
    assert client.count("memories").count == 58


def test_a_batch_applies_its_operations_in_order(client: Any) -> None:
    client.batch_update_points(
        "memories",
        [
            m.UpsertOperation(upsert=m.PointsList(points=[point(70)])),
            m.SetPayloadOperation(set_payload=m.SetPayload(payload={"n": 700}, points=[70])),
            m.DeleteOperation(delete=m.PointIdsList(points=[20])),
        ],
        wait=True,
    )
    assert client.retrieve("memories", [20, 70])[0].payload["n"] == 700
    assert client.count("memories").count == 60


def test_payloads_come_back_exactly(server: RunningServer) -> None:
    client = filled(server, count=10)
    payload = {"big": 2**63 - 1, "float": 0.1, "one": 1.0, "null": None, "uni": "日本 é 🎉", "a.b": [], "obj": {}}
    client.overwrite_payload("memories", payload, points=[UUIDS[0]], wait=True)
    found = client.retrieve("memories", [UUIDS[0]])[0].payload
    assert found == payload
    assert isinstance(found["one"], float)


def test_aliases_lead_to_their_collection_and_go_with_it(server: RunningServer) -> None:
    client = filled(server, count=10)
    client.update_collection_aliases(
        [m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name="memories", alias_name="now"))]
    )
    assert client.count("now").count == 10
    assert [alias.alias_name for alias in client.get_collection_aliases("memories").aliases] == ["now"]
    client.delete_collection("memories")
    assert client.get_aliases().aliases == []
    assert not client.collection_exists("now")


@pytest.mark.parametrize("name", ["with space", "ümläut", "a.b-c_d", "日本", "x" * 100])
def test_odd_names_work(server: RunningServer, name: str) -> None:
    client = filled(server, name, count=12)
    assert client.count(name).count == 12
    made = client.create_snapshot(name)
    assert [one.name for one in client.list_snapshots(name)] == [made.name]
    assert client.delete_collection(name)


def test_acknowledged_points_outlive_a_kill(fresh_server: RunningServer) -> None:
    client = filled(fresh_server, shards=2)
    client.update_collection_aliases(
        [m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name="memories", alias_name="now"))]
    )
    client.delete("memories", [20], wait=True)
    before = client.scroll("memories", limit=100, with_vectors=True)[0]
    process = fresh_server.call("GET", "/telemetry")[1]["result"]["id"]
    fresh_server.kill()
    fresh_server.restart()
    assert client.scroll("now", limit=100, with_vectors=True)[0] == before
    assert set(client.get_collection("memories").payload_schema) == {"tag", "n", "text"}
    assert fresh_server.call("GET", "/telemetry")[1]["result"]["id"] != process


def test_a_missing_collection_is_a_404_and_a_second_one_a_409(server: RunningServer) -> None:
    client = filled(server, count=1)
    with pytest.raises(UnexpectedResponse) as missing:
        client.count("nothing")
    assert missing.value.status_code == 404
    with pytest.raises(UnexpectedResponse) as twice:
        client.create_collection("memories", vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT))
    assert twice.value.status_code == 409


def test_a_data_directory_is_served_by_one_process(fresh_embedded: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="served by another process"):
        start_embedded(fresh_embedded.data_dir)
    assert fresh_embedded.call("GET", "/collections")[0] == 200


def test_an_answers_body_does_not_wait_for_its_head_to_be_acknowledged() -> None:
    with listening_on("127.0.0.1", 0) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
