"""The embedded server answers as a real one does: the same statuses and the same shapes to the same requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.servers import API_KEY, READ_ONLY_API_KEY, RunningServer

pytestmark = pytest.mark.real

C = "/collections/c"
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
UNLIKE = ("time", "usage", "commit", "idle_segments", "requests", "hardware", "memory", "search_pool", "file_versions")
"""Keys whose values are a server's own affair: timings, and how it laid out its segments."""
DENSE = {"vectors": {"size": 4, "distance": "Dot"}}
RICH = {
    "vectors": {
        "": {"size": 4, "distance": "Cosine", "hnsw_config": {"m": 8}},
        "multi": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}, "on_disk": True},
    },
    "sparse_vectors": {"words": {"modifier": "idf"}, "plain": {}},
    "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "hnsw_config": {"payload_m": 16, "m": 0},
    "optimizers_config": {"indexing_threshold": 20000},
    "strict_mode_config": {"enabled": True, "max_query_limit": 1000},
    "on_disk_payload": False,
    "metadata": {"owner": "tests"},
    "shard_number": 2,
}
POINTS = {
    "points": [
        {
            "id": 1,
            "vector": [1, 0.1, 0, 0],
            "payload": {"tag": "a", "n": 1, "text": "red fox", "when": "2026-01-01T00:00:00Z"},
        },
        {"id": 2, "vector": [0.5, 1, 0, 0], "payload": {"tag": "b", "n": 2.5, "text": "blue fox", "flag": True}},
        {"id": "5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "vector": [0.2, 0.3, 1, 0]},
    ]
}
NESTED = {"payload": {"deep": {"a": 1}}, "points": [1]}
INDEXES: list[Any] = [
    "keyword",
    {"type": "keyword", "is_tenant": True},
    "integer",
    {"type": "integer", "lookup": True, "range": False},
    "float",
    {"type": "float", "on_disk": True},
    {"type": "integer"},
    {"type": "datetime"},
    {"type": "text"},
    "bool",
    {"type": "bool"},
    "geo",
    {"type": "geo"},
    "datetime",
    {"type": "datetime", "is_principal": True},
    "uuid",
    {"type": "uuid"},
    "text",
    {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20},
    {"type": "text", "tokenizer": "prefix", "lowercase": False, "stopwords": "english", "phrase_matching": True},
    {"type": "text", "stopwords": {"languages": ["german"], "custom": ["x"]}},
    {"type": "text", "stemmer": {"type": "snowball", "language": "english"}},
]

Step = tuple[Any, ...]
"""Method, path, and maybe a body."""

READS: list[Step] = [
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/cluster"),
    ("GET", "/collections"),
    ("GET", "/aliases"),
    ("GET", "/snapshots"),
    ("GET", C),
    ("GET", "/collections/other"),
    ("GET", f"{C}/exists"),
    ("GET", "/collections/other/exists"),
    ("GET", f"{C}/cluster"),
    ("GET", f"{C}/aliases"),
    ("GET", f"{C}/optimizations"),
    ("GET", f"{C}/optimizations?with=queued,completed,idle_segments"),
    ("GET", f"{C}/snapshots"),
    ("GET", f"{C}/snapshots/none.snapshot"),
    ("GET", f"{C}/shards/0/snapshots"),
    ("GET", f"{C}/shards/7/snapshots"),
    ("GET", f"{C}/shards/x/snapshots"),
    ("GET", f"{C}/shards/7/snapshot"),
    ("GET", f"{C}/points/1"),
    ("GET", f"{C}/points/99"),
    ("GET", f"{C}/points/what"),
    ("GET", "/nowhere"),
    ("GET", "/collections/"),
    ("POST", f"{C}/points", {"ids": [1, 99, 2], "with_payload": True, "with_vector": True}),
    ("POST", f"{C}/points", {"ids": [1]}),
    ("POST", f"{C}/points", {}),
    ("POST", f"{C}/points/scroll", {}),
    ("POST", f"{C}/points/scroll", {"limit": 1}),
    ("POST", f"{C}/points/scroll", {"limit": 1, "with_payload": False, "with_vector": True}),
    ("POST", f"{C}/points/scroll", {"with_payload": ["tag"]}),
    ("POST", f"{C}/points/scroll", {"with_payload": {"exclude": ["tag"]}}),
    ("POST", f"{C}/points/scroll", {"limit": 0}),
    ("POST", f"{C}/points/scroll", {"offset": "nothing"}),
    ("POST", f"{C}/points/scroll", {"order_by": "n"}),
    ("POST", f"{C}/points/scroll", {"order_by": "unindexed"}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": [{"key": "tag", "match": {"value": "a"}}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": {"key": "tag", "match": {"any": ["a", "b"]}}}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must_not": [{"has_id": [1]}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"should": [{"is_empty": {"key": "tag"}}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": [{"key": "n", "range": {"gte": 2}}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": [{"key": "when", "range": {"lt": "2026-02-01T00:00:00Z"}}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": [{"key": "text", "match": {"text": "fox"}}]}}),
    ("POST", f"{C}/points/scroll", {"filter": {"must": [{"nonsense": 1}]}}),
    ("POST", "/collections/other/points/scroll", {}),
    ("POST", f"{C}/points/count", {}),
    ("POST", f"{C}/points/count", {"exact": True, "filter": {"must": [{"has_vector": ""}]}}),
    ("POST", f"{C}/points/query", {}),
    ("POST", f"{C}/points/query", {"query": [1, 0, 0, 0]}),
    ("POST", f"{C}/points/query", {"query": [1, 0, 0, 0], "with_payload": True, "with_vector": True, "limit": 1}),
    ("POST", f"{C}/points/query", {"query": 1}),
    ("POST", f"{C}/points/query", {"query": 99}),
    ("POST", f"{C}/points/query", {"query": [1, 0]}),
    ("POST", f"{C}/points/query", {"query": [1, 0, 0, 0], "using": "none"}),
    ("POST", f"{C}/points/query", {"query": {"recommend": {"positive": [1], "negative": [2]}}}),
    ("POST", f"{C}/points/query", {"query": {"order_by": "n"}}),
    ("POST", f"{C}/points/query", {"prefetch": [{"query": [1, 0, 0, 0]}], "query": {"fusion": "rrf"}}),
    ("POST", f"{C}/points/query", {"prefetch": [{"query": [1, 0, 0, 0]}], "query": {"fusion": "dbsf"}}),
    ("POST", f"{C}/points/query/batch", {"searches": [{"query": [1, 0, 0, 0]}, {"query": 2, "limit": 1}]}),
    ("POST", f"{C}/points/query/groups", {"query": [1, 0, 0, 0], "group_by": "tag"}),
    ("POST", f"{C}/points/search", {"vector": [1, 0, 0, 0], "limit": 2}),
    ("POST", f"{C}/facet", {"key": "tag"}),
    ("POST", f"{C}/facet", {"key": "unindexed"}),
]

WRITES: list[Step] = [
    ("PUT", C, DENSE),
    ("PUT", "/collections/bad%2Aname", DENSE),
    ("PUT", "/collections/fine", {"vectors": {"size": 0, "distance": "Dot"}}),
    ("PUT", "/collections/fine", {"vectors": {"size": 4, "distance": "Far"}}),
    ("PUT", "/collections/fine", b""),
    ("PUT", "/collections/fine", {"vectors": [1]}),
    ("PUT", "/collections/" + "x" * 256, DENSE),
    ("PATCH", C, {"optimizers_config": {"indexing_threshold": 0}}),
    ("GET", C),
    ("PATCH", "/collections/other", {}),
    ("PUT", f"{C}/points?wait=true", {"points": [{"id": 9, "vector": [1, 2]}]}),
    ("PUT", f"{C}/points?wait=true", {"points": [{"id": 9, "vector": {"none": [1, 2]}}]}),
    ("PUT", f"{C}/points?wait=true", {"points": [{"id": -1, "vector": [1, 0, 0, 0]}]}),
    ("PUT", f"{C}/points?wait=true", {"points": [{"id": "x", "vector": [1, 0, 0, 0]}]}),
    ("PUT", f"{C}/points?wait=true", {"points": []}),
    ("PUT", f"{C}/points?wait=true", {}),
    ("PUT", f"{C}/points", {"points": [{"id": 9, "vector": [1, 0, 0, 0]}]}),
    ("PUT", f"{C}/points?wait=true", {"batch": {"ids": [10], "vectors": [[1, 0, 0, 0]], "payloads": [{"a": 1}]}}),
    ("PUT", "/collections/other/points", POINTS),
    ("POST", f"{C}/points/payload?wait=true", NESTED),
    ("POST", f"{C}/points/payload?wait=true", {"payload": {"b": 2}, "key": "deep", "points": [1]}),
    ("PUT", f"{C}/points/payload?wait=true", {"payload": {"c": 3}, "points": [2]}),
    ("POST", f"{C}/points/payload/delete?wait=true", {"keys": ["deep"], "points": [1]}),
    ("POST", f"{C}/points/payload/clear?wait=true", {"points": [2]}),
    ("POST", f"{C}/points/payload?wait=true", {"payload": {"c": 3}}),
    ("PUT", f"{C}/points/vectors?wait=true", {"points": [{"id": 1, "vector": [0, 0, 0, 1]}]}),
    ("PUT", f"{C}/points/vectors?wait=true", {"points": [{"id": 77, "vector": [0, 0, 0, 1]}]}),
    ("POST", f"{C}/points/vectors/delete?wait=true", {"vector": ["none"], "points": [1]}),
    ("POST", f"{C}/points/delete?wait=true", {"points": [9]}),
    ("POST", f"{C}/points/delete?wait=true", {"filter": {"must": [{"has_id": [10]}]}}),
    ("POST", f"{C}/points/delete?wait=true", {}),
    ("POST", f"{C}/points/batch?wait=true", {"operations": [{"upsert": POINTS}, {"delete": {"points": [2]}}]}),
    ("POST", f"{C}/points/scroll", {"with_vector": True}),
    ("PUT", f"{C}/index?wait=true", {"field_name": "k", "field_schema": "keyword"}),
    ("PUT", f"{C}/index?wait=true", {"field_name": "k", "field_schema": "nonsense"}),
    ("PUT", f"{C}/index?wait=true", {"field_schema": "keyword"}),
    ("PUT", "/collections/other/index", {"field_name": "k", "field_schema": "keyword"}),
    ("DELETE", f"{C}/index/k?wait=true"),
    ("DELETE", f"{C}/index/none?wait=true"),
    ("POST", f"{C}/points/delete?wait=true", {"points": []}),
    ("POST", f"{C}/points/delete?wait=true", {"filter": {}}),
    ("POST", f"{C}/points/payload?wait=true", {"payload": {}, "points": []}),
    ("POST", f"{C}/points/vectors/delete?wait=true", {"vector": [""]}),
    ("POST", "/collections/aliases", {"actions": []}),
    ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "one"}}]}),
    ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "no", "alias_name": "one"}}]}),
    ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "c"}}]}),
    ("PUT", "/collections/one", DENSE),
    ("GET", "/aliases"),
    ("GET", "/collections/one"),
    ("GET", "/collections/one/exists"),
    ("GET", "/collections/one/aliases"),
    ("GET", "/collections/none/aliases"),
    (
        "POST",
        "/collections/aliases",
        {"actions": [{"rename_alias": {"old_alias_name": "one", "new_alias_name": "two"}}]},
    ),
    ("POST", "/collections/aliases", {"actions": [{"rename_alias": {"old_alias_name": "no", "new_alias_name": "x"}}]}),
    ("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "two"}}]}),
    ("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "none"}}]}),
    ("POST", f"{C}/snapshots"),
    ("POST", f"{C}/snapshots?wait=false"),
    ("POST", f"{C}/snapshots?wait=perhaps"),
    ("POST", "/collections/other/snapshots"),
    ("DELETE", f"{C}/snapshots/none.snapshot"),
    ("DELETE", "/collections/other/snapshots/none.snapshot"),
    ("POST", f"{C}/snapshots/upload"),
    ("POST", f"{C}/snapshots/upload?checksum=short"),
    ("PUT", f"{C}/snapshots/recover", {}),
    ("PUT", f"{C}/snapshots/recover", {"location": "nonsense"}),
    ("PUT", f"{C}/snapshots/recover", {"location": "file:///nowhere/x.snapshot"}),
    ("PUT", f"{C}/snapshots/recover", {"location": "file:///etc/hostname"}),
    ("PUT", f"{C}/snapshots/recover", {"location": "ftp://127.0.0.1/x"}),
    ("POST", f"{C}/shards/0/snapshots"),
    ("POST", f"{C}/shards/9/snapshots"),
    ("DELETE", f"{C}/shards/0/snapshots/none.snapshot"),
    ("PUT", f"{C}/shards/0/snapshots/recover", {"location": "none.snapshot"}),
    ("DELETE", "/collections/other"),
    ("DELETE", C),
    ("DELETE", C),
]

RIGHTS: list[Step] = [
    ("GET", "/collections"),
    ("GET", C),
    ("GET", "/aliases"),
    ("GET", "/telemetry"),
    ("GET", "/cluster"),
    ("GET", "/metrics"),
    ("GET", f"{C}/cluster"),
    ("GET", f"{C}/snapshots"),
    ("GET", f"{C}/shards/0/snapshot/partial/manifest"),
    ("POST", f"{C}/points/scroll", {}),
    ("POST", f"{C}/points/count", {}),
    ("GET", "/nowhere"),
    ("PUT", "/collections/x", DENSE),
    ("DELETE", C),
    ("PUT", f"{C}/points", POINTS),
    ("PUT", f"{C}/index", {"field_name": "k", "field_schema": "keyword"}),
    ("POST", f"{C}/snapshots"),
    ("DELETE", f"{C}/snapshots/none"),
    ("POST", f"{C}/snapshots/upload"),
    ("GET", f"{C}/shards/0/snapshot"),
    ("POST", "/collections/aliases", {"actions": []}),
    ("GET", "/"),
    ("GET", "/healthz"),
]


@pytest.fixture
def both(shared_servers: Any) -> Iterator[tuple[RunningServer, RunningServer]]:
    pair = (shared_servers.get("embedded"), shared_servers.get("real"))
    yield pair
    for server in pair:
        server.empty()


def shape(value: Any) -> Any:
    """What must be equal: keys, kinds, and every word of an error."""
    if isinstance(value, dict):
        if "error" in value and set(value) == {"error"}:
            # Where in a body the parser stopped is nobody's business.
            return re.sub(r" at line [0-9]+ column [0-9]+", "", value["error"])
        named = {"a uuid" if UUID.match(key) else key: one for key, one in value.items()}
        return {key: shape(one) for key, one in named.items() if key not in UNLIKE}
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def answers(server: RunningServer, steps: list[Step], key: str | None = API_KEY) -> list[tuple[str, int, Any]]:
    found = []
    for method, path, *body in steps:
        status, answer = server.call(method, path, body[0] if body else None, key=key)
        text = json.dumps(shape(answer)).replace(str(server.data_dir), "DATA")
        found.append((f"{method} {path} {body}", status, json.loads(text)))
    return found


def prepare(server: RunningServer) -> None:
    assert server.call("PUT", C, DENSE)[0] == 200
    for field, kind in {"tag": "keyword", "n": "float", "text": "text", "when": "datetime"}.items():
        assert server.call("PUT", f"{C}/index?wait=true", {"field_name": field, "field_schema": kind})[0] == 200
    assert server.call("PUT", f"{C}/points?wait=true", POINTS)[0] == 200


def compare(both: tuple[RunningServer, RunningServer], steps: list[Step], key: str | None = API_KEY) -> None:
    embedded, real = both
    differences = [
        f"{mine[0]}\n  embedded {mine[1:]}\n  real     {theirs[1:]}"
        for mine, theirs in zip(answers(embedded, steps, key), answers(real, steps, key), strict=True)
        if mine != theirs
    ]
    assert not differences, "\n" + "\n".join(differences)


def test_reads_are_answered_alike(both: tuple[RunningServer, RunningServer]) -> None:
    for server in both:
        prepare(server)
    compare(both, READS)


def test_writes_are_answered_alike(both: tuple[RunningServer, RunningServer]) -> None:
    for server in both:
        prepare(server)
    compare(both, WRITES)


@pytest.mark.parametrize("key", [None, "wrong", READ_ONLY_API_KEY])
def test_keys_open_the_same_doors(both: tuple[RunningServer, RunningServer], key: str | None) -> None:
    for server in both:
        prepare(server)
    compare(both, RIGHTS, key)


@pytest.mark.parametrize("request_body", [DENSE, RICH, {"sparse_vectors": {"s": {}}}], ids=["plain", "rich", "sparse"])
def test_configurations_are_completed_alike(both: tuple[RunningServer, RunningServer], request_body: Any) -> None:
    configs = []
    for server in both:
        assert server.call("PUT", C, request_body)[0] == 200
        configs.append(server.call("GET", C)[1]["result"]["config"])
    assert configs[0] == configs[1]


def test_changed_configurations_are_alike(both: tuple[RunningServer, RunningServer]) -> None:
    change = {
        "optimizers_config": {"indexing_threshold": 1, "max_segment_size": 2000},
        "hnsw_config": {"ef_construct": 50},
        "params": {"on_disk_payload": True},
        "vectors": {"multi": {"on_disk": False}},
        "sparse_vectors": {"plain": {"index": {"on_disk": True}}},
        "quantization_config": "Disabled",
        "strict_mode_config": {"enabled": False},
        "metadata": {"more": 1},
    }
    configs = []
    for server in both:
        server.call("PUT", C, RICH)
        assert server.call("PATCH", C, change) == (200, pytest.approx(server.call("PATCH", C, change)[1], abs=60))
        configs.append(server.call("GET", C)[1]["result"]["config"])
    assert configs[0] == configs[1]


def test_payload_indexes_are_listed_alike(both: tuple[RunningServer, RunningServer]) -> None:
    listed = []
    for server in both:
        server.call("PUT", C, DENSE)
        for number, schema in enumerate(INDEXES):
            body = {"field_name": f"f{number}", "field_schema": schema}
            assert server.call("PUT", f"{C}/index?wait=true", body)[0] == 200, schema
        listed.append(server.call("GET", C)[1]["result"]["payload_schema"])
    assert listed[0] == listed[1]


def test_points_of_several_shards_lie_in_the_same_ones(both: tuple[RunningServer, RunningServer]) -> None:
    counts = []
    ids: list[Any] = [*range(40), *(f"00000000-0000-4000-8000-{number:012d}" for number in range(40))]
    for server in both:
        server.call("PUT", C, {**DENSE, "shard_number": 3})
        points = [{"id": one, "vector": [1, 0, 0, 0]} for one in ids]
        assert server.call("PUT", f"{C}/points?wait=true", {"points": points})[0] == 200
        shards = server.call("GET", f"{C}/cluster")[1]["result"]["local_shards"]
        counts.append({shard["shard_id"]: shard["points_count"] for shard in shards})
    assert counts[0] == counts[1]


def test_telemetry_has_what_we_read(both: tuple[RunningServer, RunningServer]) -> None:
    for server in both:
        prepare(server)
        server.call("POST", f"{C}/snapshots")
        found = server.call("GET", "/telemetry?details_level=4")[1]["result"]
        assert found["collections"]["number_of_collections"] == 1
        (collection,) = found["collections"]["collections"]
        local = collection["shards"][0]["local"]
        assert collection["id"] == "c"
        assert local["num_points"] == 3
        assert local["vectors_size_bytes"] >= 48
        assert "payloads_size_bytes" in local
        # A real server remembers collections that are gone, and what was made under their names.
        (snapshots,) = [one for one in found["collections"]["snapshots"] if one["id"] == "c"]
        assert snapshots.pop("total_snapshot_creations") >= 1
        assert snapshots == {"id": "c", "running_snapshots": 0, "running_snapshot_recovery": 0}
